"""What goes wrong with the embedded stack, told to the person at the keyboard."""

from __future__ import annotations


class StackError(Exception):
    """The stack or one of its servers cannot do what was asked; the text says why and what to do."""
