"""Pages in a real browser; a package, so that its fixtures live as long as its tests and no longer."""
