"""Values that callers have to give in JSON's own words."""

from __future__ import annotations

from typing import Annotated

from pydantic import BeforeValidator, Field


def _true_or_false(value: object) -> object:
    """What can't be taken back is done for those alone who say so plainly: no "yes", no 1."""
    if not isinstance(value, bool):
        raise ValueError("must be true or false")
    return value


def _whole_number(value: object) -> object:
    """What is confirmed is confirmed plainly: no "3", no true."""
    if isinstance(value, bool) or not isinstance(value, int):
        raise ValueError("must be a whole number")
    return value


TrueOrFalse = Annotated[bool, BeforeValidator(_true_or_false)]
WholeNumber = Annotated[int, BeforeValidator(_whole_number), Field(ge=0)]
