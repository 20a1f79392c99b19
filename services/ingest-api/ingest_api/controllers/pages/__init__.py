"""The pages for people, a controller for each part of the menu."""
