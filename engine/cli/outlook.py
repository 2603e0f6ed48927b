"""What lies ahead of a run and below it, as people read it: the time left, and the nodes of runs below.

Both cost a look at many rows, so that a watcher takes them more rarely than progress.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from engine.api.estimate import Estimate, estimate
from engine.cli.times import rough
from engine.store.views import Below

if TYPE_CHECKING:
    from engine.store.runs import RunStore
    from engine.store.views import RunProgress

_EVERY_S = 1.0
_SHARE = 10.0
"""A look that took long is taken more rarely: it may cost a tenth of the time."""


@dataclass(frozen=True, slots=True)
class Outlook:
    """What is left of a run, and what its runs below have come to, all together; ``None`` once it has ended."""

    left: Estimate | None
    below: Mapping[str, int] = field(default_factory=dict)


class Lookout:
    """Takes an ``Outlook`` when the last one is old; called as often as one likes."""

    def __init__(self, store: RunStore) -> None:
        self._store = store
        self._seen: Outlook | None = None
        self._next_at = 0.0

    def __call__(self, progress: RunProgress) -> Outlook:
        asked_at = time.monotonic()
        if self._seen is None or asked_at >= self._next_at:
            self._seen = look(self._store, progress)
            done_at = time.monotonic()
            self._next_at = done_at + max(_EVERY_S, _SHARE * (done_at - asked_at))
        return self._seen


def look(store: RunStore, progress: RunProgress) -> Outlook:
    """The outlook of a run now."""
    below = below_row(store.below(progress.run.id))
    if progress.run.state.final:
        return Outlook(None, below)
    now = time.time()
    return Outlook(estimate(progress, store.paces(progress.run.id, now), now), below)


def outlook_lines(outlook: Outlook) -> list[str]:
    """One line on the runs below, if there are any, and one on the time left."""
    lines = [below_line(outlook.below)] if outlook.below["runs"] else []
    return lines if outlook.left is None else [*lines, left_line(outlook.left)]


def left_line(left: Estimate) -> str:
    """Such as ``left     at least 3m to 5m; 2 steps cannot be told yet``."""
    if left.low_s is None or left.high_s is None:
        return f"left     unknown: {left.why}"
    low, high = rough(left.low_s), rough(left.high_s)
    span = low if low == high else f"{low} to {high}"
    if not left.unknown_steps:
        return f"left     {span}"
    steps = "1 step" if left.unknown_steps == 1 else f"{left.unknown_steps} steps"
    return f"left     at least {span}; {steps} cannot be told yet"


def below_row(below: Mapping[int, Below]) -> dict[str, int]:
    """The runs below all steps together."""
    return {name: sum(getattr(each, name) for each in below.values()) for name in (*asdict(Below()), "done")}


def below_line(below: Mapping[str, int]) -> str:
    """Such as ``below    12/40 runs ended, 30/82 nodes, 1 failed``."""
    counts: Iterable[str] = (f"{below[name]} {name}" for name in ("failed", "skipped", "cancelled") if below[name])
    nodes = f"{below['done']}/{below['nodes']} nodes known so far"
    return ", ".join([f"below    {below['runs_ended']}/{below['runs']} runs ended", nodes, *counts])


def outlook_row(outlook: Outlook) -> dict[str, Any]:
    """Both as JSON data."""
    return {"below": dict(outlook.below), "left": None if outlook.left is None else asdict(outlook.left)}
