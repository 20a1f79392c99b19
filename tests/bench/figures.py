"""What was measured, beside what it should be, as one table."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class Goal:
    """A bound, and where it comes from."""

    relation: Literal["<", "<=", ">", ">=", "="]
    bound: float
    source: str = ""

    def met_by(self, value: float) -> bool:
        return {
            "<": value < self.bound,
            "<=": value <= self.bound,
            ">": value > self.bound,
            ">=": value >= self.bound,
            "=": value == self.bound,
        }[self.relation]

    def __str__(self) -> str:
        return f"{self.relation} {number(self.bound)}" + (f" ({self.source})" if self.source else "")


@dataclass(frozen=True, slots=True)
class Figure:
    """One line of the table; without a goal it explains the others."""

    name: str
    value: float
    unit: str
    goal: Goal | None = None
    remark: str = ""

    @property
    def verdict(self) -> str:
        if self.goal is None:
            return ""
        return "met" if self.goal.met_by(self.value) else "MISSED"


@dataclass(frozen=True, slots=True)
class Section:
    """The figures of one part of the run, and how busy the machine was with other things meanwhile."""

    title: str
    figures: Sequence[Figure]
    cores_used_elsewhere: float


def number(value: float) -> str:
    return f"{value:.0f}" if value == round(value) or abs(value) >= 100 else f"{value:.2f}"


def table(sections: Sequence[Section]) -> str:
    """All figures as text."""
    rows = [("", "measured", "", "goal", "", "")]
    for section in sections:
        rows.append((section.title, "", "", "", "", ""))
        rows += [
            (f"  {f.name}", number(f.value), f.unit, str(f.goal or ""), f.verdict, f.remark) for f in section.figures
        ]
        elsewhere = number(section.cores_used_elsewhere)
        rows.append(("  processors used by others meanwhile", elsewhere, "cores", "", "", ""))
    widths = [max(len(row[column]) for row in rows) for column in range(5)]
    return "\n".join(_line(row, widths) for row in rows)


def _line(row: Sequence[str], widths: Sequence[int]) -> str:
    name, value, unit, goal, verdict, remark = row
    cells = [
        name.ljust(widths[0]),
        value.rjust(widths[1]),
        unit.ljust(widths[2]),
        goal.ljust(widths[3]),
        verdict.ljust(widths[4]),
    ]
    return "  ".join([*cells, remark]).rstrip()
