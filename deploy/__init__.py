"""How Mediabus is run: the embedded stack, the demonstration, images and their configuration."""
