"""Backups of a whole installation: records, bucket and disk as they were at one moment, and the way back."""
