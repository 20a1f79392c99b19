"""Why there is no backup, or no way back from it."""

from __future__ import annotations


class BackupError(Exception):
    """Something that a person has to mend; the text says what. Nothing half made counts as a backup."""
