"""What is wrong with single fields, in kinds that pages have words for in each language."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from dataclasses import field as attribute
from types import MappingProxyType
from typing import Any, Final

from pydantic_core import ErrorDetails


@dataclass(frozen=True, slots=True)
class FieldError:
    """What is wrong with one field, named as the caller wrote it.

    `code` is one of FAULTS where the kind is known, `values` are its limits; the message alone says it in full.
    """

    field: str
    message: str
    code: str | None = None
    values: Mapping[str, Any] = attribute(default_factory=dict, hash=False)

    def record(self) -> dict[str, Any]:
        """As callers read it."""
        known = {"code": self.code, "values": dict(self.values)} if self.code else {}
        return {"field": self.field, "message": self.message, **known}


FAULTS: Final = frozenset(
    {
        "missing",
        "empty",
        "too_short",
        "too_long",
        "too_few",
        "too_many",
        "too_small",
        "too_large",
        "not_above",
        "not_below",
        "not_one_of",
        "no_text",
        "no_number",
        "no_whole_number",
        "no_truth_value",
        "no_list",
        "no_object",
        "no_id",
        "no_moment",
        "no_day",
        "wrong_form",
        "unknown",
        "no_cron",
        "no_time_zone",
    }
)
"""Every code of a field's error. Pages have a text for each, in the table of texts/*/faults.toml."""

_PYDANTIC: Final[Mapping[str, tuple[str, Mapping[str, str]]]] = MappingProxyType(
    {
        "missing": ("missing", {}),
        "string_too_short": ("too_short", {"min_length": "least"}),
        "string_too_long": ("too_long", {"max_length": "most"}),
        "too_short": ("too_few", {"min_length": "least"}),
        "too_long": ("too_many", {"max_length": "most"}),
        "greater_than_equal": ("too_small", {"ge": "least"}),
        "less_than_equal": ("too_large", {"le": "most"}),
        "greater_than": ("not_above", {"gt": "limit"}),
        "less_than": ("not_below", {"lt": "limit"}),
        "literal_error": ("not_one_of", {"expected": "expected"}),
        "enum": ("not_one_of", {"expected": "expected"}),
        "string_type": ("no_text", {}),
        "float_type": ("no_number", {}),
        "float_parsing": ("no_number", {}),
        "finite_number": ("no_number", {}),
        "int_type": ("no_whole_number", {}),
        "int_parsing": ("no_whole_number", {}),
        "int_from_float": ("no_whole_number", {}),
        "bool_type": ("no_truth_value", {}),
        "bool_parsing": ("no_truth_value", {}),
        "list_type": ("no_list", {}),
        "tuple_type": ("no_list", {}),
        "set_type": ("no_list", {}),
        "frozen_set_type": ("no_list", {}),
        "dict_type": ("no_object", {}),
        "model_type": ("no_object", {}),
        "model_attributes_type": ("no_object", {}),
        "uuid_type": ("no_id", {}),
        "uuid_parsing": ("no_id", {}),
        "datetime_type": ("no_moment", {}),
        "datetime_parsing": ("no_moment", {}),
        "datetime_from_date_parsing": ("no_moment", {}),
        "timezone_aware": ("no_moment", {}),
        "date_type": ("no_day", {}),
        "date_parsing": ("no_day", {}),
        "date_from_datetime_parsing": ("no_day", {}),
        "string_pattern_mismatch": ("wrong_form", {}),
        "extra_forbidden": ("unknown", {}),
    }
)
"""By pydantic's type of error: the code, and which of its limits are told under which names."""

_MSGSPEC: Final = tuple(
    (re.compile(pattern), code)
    for pattern, code in (
        (r"^Expected `str` of length >= (?P<least>\d+)", "too_short"),
        (r"^Expected `str` of length <= (?P<most>\d+)", "too_long"),
        (r"^Expected `\w+` of length >= (?P<least>\d+)", "too_few"),
        (r"^Expected `\w+` of length <= (?P<most>\d+)", "too_many"),
        (r"^Expected `(?:int|float)` >= (?P<least>[-\d.]+)", "too_small"),
        (r"^Expected `(?:int|float)` <= (?P<most>[-\d.]+)", "too_large"),
        (r"^Expected `(?:int|float)` > (?P<limit>[-\d.]+)", "not_above"),
        (r"^Expected `(?:int|float)` < (?P<limit>[-\d.]+)", "not_below"),
        (r"^Expected `str` matching regex", "wrong_form"),
        (r"^Expected `str(?: \| null)?`, got", "no_text"),
        (r"^Expected `float(?: \| null)?`, got", "no_number"),
        (r"^Expected `int(?: \| null)?`, got", "no_whole_number"),
        (r"^Expected `bool(?: \| null)?`, got", "no_truth_value"),
        (r"^Expected `array(?: \| null)?`, got", "no_list"),
        (r"^Expected `object(?: \| null)?`, got", "no_object"),
        (r"^Expected `uuid(?: \| null)?`, got|^Invalid UUID", "no_id"),
        (r"^Expected `datetime(?: \| null)?`, got|^Invalid RFC3339 encoded datetime", "no_moment"),
        (r"^Expected `date(?: \| null)?`, got|^Invalid RFC3339 encoded date", "no_day"),
    )
)
_MISSING_FIELD: Final = re.compile(r"^Object missing required field `(?P<field>[^`]+)`")
_UNKNOWN_FIELD: Final = re.compile(r"^Object contains unknown field `(?P<field>[^`]+)`")
_OWN_WORDS: Final = "Value error, "

WHOLE: Final = "body"
"""Named where no single field is to blame."""


def missing(name: str) -> FieldError:
    return FieldError(name, "is missing", "missing")


def from_pydantic(found: ErrorDetails, name: str | None = None) -> FieldError:
    """One error of a ValidationError, at the field that it names unless told otherwise."""
    name = name or ".".join(map(str, found["loc"])) or WHOLE
    if found["type"] == "missing":
        return missing(name)
    code, limits = _PYDANTIC.get(found["type"], (None, {}))
    told = found.get("ctx", {})
    values = {ours: _plain(told[theirs]) for theirs, ours in limits.items()}
    return FieldError(name, found["msg"].removeprefix(_OWN_WORDS), code, values)


def from_msgspec(name: str, message: str) -> FieldError:
    """`name` is empty for the whole body, `message` what msgspec says of it."""
    if absent := _MISSING_FIELD.match(message):
        return missing(f"{name}.{absent['field']}" if name else absent["field"])
    if strange := _UNKNOWN_FIELD.match(message):
        return FieldError(f"{name}.{strange['field']}" if name else strange["field"], message, "unknown")
    for pattern, code in _MSGSPEC:
        if found := pattern.match(message):
            return FieldError(name or WHOLE, message, code, found.groupdict())
    return FieldError(name or WHOLE, message)


def _plain(value: Any) -> Any:
    return value if isinstance(value, bool | int | float | str) else str(value)
