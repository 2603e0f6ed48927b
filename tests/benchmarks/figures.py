"""One measured figure: its median, what it is held to, every run behind it, and how it is shown."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

from rich.console import Console
from rich.table import Table

from tests.benchmarks.bars import BARS, Bar


@dataclass(frozen=True, slots=True)
class Figure:
    """A median and all that is needed to judge it.

    ``case`` tells the figures of one metric apart (a file, a shape). ``peer_value`` is the peer's own
    median in ``peer_unit``. ``load`` is how many cores other processes used meanwhile, on average.
    """

    bench: str
    metric: str
    value: float
    unit: str
    runs: tuple[float, ...]
    load: float
    bar: Bar | None = None
    peer: str | None = None
    peer_value: float | None = None
    peer_unit: str = "s"
    case: str | None = None
    note: str = ""

    @property
    def ok(self) -> bool | None:
        """Whether the bar is reached; ``None`` without one."""
        return None if self.bar is None else self.bar.holds(self.value)

    def as_json(self) -> str:
        """One line."""
        fields: dict[str, Any] = {
            "bench": self.bench, "metric": self.metric, "case": self.case, "value": _rounded(self.value),
            "unit": self.unit, "bar": None if self.bar is None else _rounded(self.bar.value), "ok": self.ok,
            "goal": None if self.bar is None else self.bar.goal, "peer": self.peer,
            "peer_value": None if self.peer_value is None else _rounded(self.peer_value), "peer_unit": self.peer_unit,
            "runs": [_rounded(run) for run in self.runs], "load": round(self.load, 2), "note": self.note,
        }  # fmt: skip
        return json.dumps(fields, ensure_ascii=False)


def _rounded(value: float) -> float:
    return float(f"{value:.5g}")


def figure(bench: str, metric: str, unit: str, runs: Sequence[float], load: float, **facts: Any) -> Figure:
    """The median of ``runs`` against the bar of its metric."""
    facts.setdefault("bar", BARS.get((bench, metric)))
    return Figure(bench, metric, median(runs), unit, tuple(runs), load, **facts)


def print_table(figures: Sequence[Figure], machine: str) -> None:
    """The figures for people."""
    table = Table(title=machine, title_justify="left", caption_justify="left")
    for name in ("bench", "metric", "value", "bar", "goal", "", "peer", "lowest – highest", "load"):
        table.add_column(name, justify="right" if name in ("value", "bar", "goal", "load") else "left")
    for each in figures:
        goal = "" if each.bar is None or each.bar.goal is None else f"{each.bar.goal:g}"
        peer = "" if each.peer is None else each.peer
        if each.peer_value is not None:
            peer += f" {_rounded(each.peer_value):g} {each.peer_unit}"
        table.add_row(
            each.bench if each.case is None else f"{each.bench} {each.case}", each.metric,
            f"{_rounded(each.value):g} {each.unit}", "" if each.bar is None else str(each.bar), goal,
            {True: "ok", False: "MISSED", None: ""}[each.ok], peer,
            f"{_rounded(min(each.runs)):g} – {_rounded(max(each.runs)):g} ({len(each.runs)})", f"{each.load:.2f}",
        )  # fmt: skip
        if each.note:
            table.add_row("", each.note)
    Console(width=150).print(table)
