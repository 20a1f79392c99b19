"""Calls that only tell what they would be about."""

from __future__ import annotations

from typing import Annotated, Any, TypeAlias

import msgspec
from litestar import Response
from litestar.params import QueryParameter

DryRun: TypeAlias = Annotated[bool, QueryParameter(description="Only tell how many media it would be.")]


class DryAnswer(msgspec.Struct, rename="camel"):
    """200: nothing was done; `total` is how many media it would be now."""

    dry_run: bool
    total: int


def dry_answer(total: int) -> Response[Any]:
    return Response(DryAnswer(True, total), status_code=200)
