"""What is wrong with single fields: kinds and limits, for those who say it in other words."""

from __future__ import annotations

from datetime import date
from typing import Annotated, Any, Literal
from uuid import UUID

import msgspec
import pytest
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError, field_validator

from ingest_api.field_faults import _PYDANTIC, FAULTS, FieldError, from_msgspec, from_pydantic
from ingest_api.pages.rendering import TEXTS


class Form(BaseModel):
    model_config = ConfigDict(extra="forbid")

    name: str = Field(default="a name", min_length=2, max_length=8, pattern="^a")
    count: int = Field(default=1, ge=1, le=9)
    share: float = Field(default=0.5, gt=0, lt=1)
    kind: Literal["one", "two"] = "one"
    ids: list[UUID] = Field(default_factory=list, max_length=1)
    when: AwareDatetime | None = None
    day: date | None = None
    word: str = "fine"

    @field_validator("word")
    @classmethod
    def _known(cls, word: str) -> str:
        if word != "fine":
            raise ValueError("must be fine")
        return word


@pytest.mark.parametrize(
    ("fields", "code", "values"),
    [
        ({"name": "a"}, "too_short", {"least": 2}),
        ({"name": "a long name"}, "too_long", {"most": 8}),
        ({"name": "name"}, "wrong_form", {}),
        ({"name": 1}, "no_text", {}),
        ({"count": 0}, "too_small", {"least": 1}),
        ({"count": 10}, "too_large", {"most": 9}),
        ({"count": "x"}, "no_whole_number", {}),
        ({"share": 0}, "not_above", {"limit": 0.0}),
        ({"share": 1}, "not_below", {"limit": 1.0}),
        ({"kind": "three"}, "not_one_of", {"expected": "'one' or 'two'"}),
        ({"ids": "x"}, "no_list", {}),
        ({"ids": ["00000000-0000-7000-8000-000000000000"] * 2}, "too_many", {"most": 1}),
        ({"when": "2026-05-31T10:00:00"}, "no_moment", {}),
        ({"day": "today"}, "no_day", {}),
        ({"other": 1}, "unknown", {}),
    ],
)
def test_what_pydantic_refuses_has_a_kind_with_its_limits(
    fields: dict[str, Any], code: str, values: dict[str, Any]
) -> None:
    error = refusal(fields)
    assert (error.field, error.code, dict(error.values)) == (next(iter(fields)), code, values)
    assert error.record() == {"field": error.field, "message": error.message, "code": code, "values": values}


def refusal(fields: dict[str, Any]) -> FieldError:
    with pytest.raises(ValidationError) as refused:
        Form.model_validate(fields)
    (found,) = refused.value.errors(include_url=False)
    return from_pydantic(found)


def test_what_our_own_checks_refuse_is_said_in_their_words() -> None:
    assert refusal({"word": "other"}).record() == {"field": "word", "message": "must be fine"}
    nested = refusal({"ids": ["x"]})
    assert (nested.field, nested.code) == ("ids.0", "no_id")


class Query(msgspec.Struct, forbid_unknown_fields=True):
    name: Annotated[str, msgspec.Meta(min_length=2, max_length=8, pattern="^a")] = "a name"
    count: Annotated[int, msgspec.Meta(ge=1, le=9)] = 1
    share: Annotated[float, msgspec.Meta(gt=0, lt=1)] = 0.5
    ids: Annotated[list[UUID], msgspec.Meta(min_length=1, max_length=1)] | None = None
    is_it: bool = False
    day: date | None = None


@pytest.mark.parametrize(
    ("fields", "code", "values"),
    [
        ({"name": "a"}, "too_short", {"least": "2"}),
        ({"name": "a long name"}, "too_long", {"most": "8"}),
        ({"name": "name"}, "wrong_form", {}),
        ({"name": 1}, "no_text", {}),
        ({"count": 0}, "too_small", {"least": "1"}),
        ({"count": 10}, "too_large", {"most": "9"}),
        ({"count": "x"}, "no_whole_number", {}),
        ({"share": 0}, "not_above", {"limit": "0.0"}),
        ({"share": 1}, "not_below", {"limit": "1.0"}),
        ({"share": "x"}, "no_number", {}),
        ({"ids": []}, "too_few", {"least": "1"}),
        ({"ids": ["x"]}, "no_id", {}),
        ({"is_it": 3}, "no_truth_value", {}),
        ({"day": "today"}, "no_day", {}),
        ({"other": 1}, "unknown", {}),
    ],
)
def test_what_msgspec_refuses_has_the_same_kinds(fields: dict[str, Any], code: str, values: dict[str, Any]) -> None:
    with pytest.raises(msgspec.ValidationError) as refused:
        msgspec.convert(fields, Query)
    error = from_msgspec("", str(refused.value))
    assert (error.code, dict(error.values)) == (code, values)


def test_every_kind_is_known_and_every_limit_said() -> None:
    assert {code for code, _ in _PYDANTIC.values()} <= FAULTS
    for code, limits in _PYDANTIC.values():
        for texts in TEXTS.values():
            assert texts(f"faults.script.{code}", **dict.fromkeys([*limits.values(), "message"], 1))
