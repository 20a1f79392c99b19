"""When something is due: a cron expression in a time zone.

Five fields as Debian's cron reads them. Times of day that a change of clocks leaves out come at its end, those that it
repeats come once; what is due at every hour or minute keeps its pace. Zones are those of the package `tzdata`, so that
they are the same on every machine.
"""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache, lru_cache
from importlib import resources
from typing import Final
from zoneinfo import ZoneInfo

from cronsim import CronSim, CronSimError

LONGEST_EXPRESSION: Final = 100
FIELDS: Final = "minute, hour, day of month, month, day of week"
_PACKAGE: Final = "tzdata"
_LOOKED_BACK: Final = tuple(timedelta(hours=hours) for hours in (1, 24, 32 * 24, 367 * 24))


class InvalidTiming(ValueError):
    """`field` is `cron` or `time_zone`; the text says what is wrong and what would be right."""

    def __init__(self, field: str, detail: str) -> None:
        super().__init__(detail)
        self.field = field
        self.detail = detail


@dataclass(frozen=True, slots=True)
class Timing:
    """When something is due. Made by `of`, which refuses what never comes."""

    cron: str
    time_zone: str

    @classmethod
    def of(cls, cron: str, time_zone: str) -> Timing:
        """Raises InvalidTiming. Blanks and letters' case make no difference."""
        zone(time_zone)
        timing = cls(" ".join(cron.upper().split()), time_zone)
        if len(timing.cron) > LONGEST_EXPRESSION or len(timing.cron.split()) != 5:
            raise InvalidTiming("cron", f"must have five fields ({FIELDS}), such as `0 3 * * *`, every day at 03:00")
        timing.following(datetime(2000, 1, 1, tzinfo=UTC))
        return timing

    def following(self, after: datetime) -> datetime:
        """The first due time that is later, in UTC."""
        found = after
        try:
            moments = CronSim(self.cron, after.astimezone(zone(self.time_zone)))
            # In the second pass of a repeated hour the library starts with the first one again.
            while found <= after:
                found = next(moments).astimezone(UTC)
        except CronSimError as error:
            raise InvalidTiming("cron", _complaint(str(error))) from error
        except StopIteration as error:
            raise InvalidTiming("cron", "never comes round: no month has such a day") from error
        return found

    def last(self, first: datetime, until: datetime) -> datetime | None:
        """The last due time in `first`, which is one, to `until`; None where `until` is earlier."""
        if until < first:
            return None
        # Due times are found forwards alone; the nearest span that has any is looked through.
        starts = [until - span for span in _LOOKED_BACK if until - span > first]
        for start in (*starts, first):
            latest = first if start == first else None
            moment = self.following(start)
            while moment <= until:
                latest, moment = moment, self.following(moment)
            if latest is not None:
                return latest
        return first

    def count(self, first: datetime, before: datetime, limit: int) -> int:
        """How many due times there are in `first`, which is one, and before the other moment; at most `limit`."""
        counted = 0
        while first < before and counted < limit:
            counted, first = counted + 1, self.following(first)
        return counted

    def next_few(self, after: datetime, how_many: int) -> list[datetime]:
        moments: list[datetime] = []
        for _ in range(how_many):
            after = self.following(after)
            moments.append(after)
        return moments


@cache
def zone_names() -> frozenset[str]:
    """Every name of a time zone, such as Europe/Berlin."""
    return frozenset(resources.files(_PACKAGE).joinpath("zones").read_text().split())


@lru_cache(maxsize=64)
def zone(name: str) -> ZoneInfo:
    """Raises InvalidTiming where there is none of this name."""
    if name not in zone_names():
        near = difflib.get_close_matches(name, sorted(zone_names()), n=3)
        hint = f"; did you mean {' or '.join(near)}?" if near else ", such as Europe/Berlin"
        raise InvalidTiming("time_zone", f"must be the name of an IANA time zone{hint}")
    with resources.files(_PACKAGE).joinpath("zoneinfo", *name.split("/")).open("rb") as data:
        return ZoneInfo.from_file(data, key=name)


def _complaint(said: str) -> str:
    field = said.removeprefix("Bad ").replace("-", " ")
    return f"the field for the {field} can't be read; the five are {FIELDS}, such as `0 3 * * *`, every day at 03:00"
