"""Moves stored files between local disk and the bucket."""
