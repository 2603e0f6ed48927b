"""What is learned of one kind: a step of a plan, a task type, or a step's condition.

Evidence fades, so that what changed is noticed and nothing grows without end: the weight of all
that a kind holds is halved whenever it has grown to twice ``DURATIONS_KEPT`` (``ENDS_KEPT``,
``BRANCHES_KEPT``), and with each ``HALF_LIFE_S`` that lies between it and new evidence.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from engine.learning.sketch import Sketch

DURATIONS_KEPT, ENDS_KEPT, BRANCHES_KEPT = 1000, 1000, 100
HALF_LIFE_S = 30 * 86400.0
_FADED_EVERY_S = 86400.0

_RECENT = 0.1
"""Weight of the newest body in ``typical_s``, once ten are known; before that it is their plain mean."""

BRANCH_PRIOR = (1.0, 1.0)
"""Beta prior of a condition: true and false are as likely (Laplace's rule of succession)."""
FAILURE_PRIOR = (0.05, 4.95)
"""Beta prior of a body's end, failed and succeeded: 1 in 100 fails, worth five bodies of evidence."""


@dataclass(slots=True)
class Kind:
    """What is known of one kind.

    Parameters
    ----------
    seen_at
        When it was last observed, seconds since the epoch.
    faded_at
        Up to when its age has been taken off its weights.
    sketch
        Seconds of the bodies that succeeded.
    bodies, typical_s
        How many bodies ended, and their mean seconds with the newest counting most.
    ok, failed
        Weights of the bodies that succeeded and that failed.
    held, refused
        Weights of the condition's values: true and false.
    items
        Mean number of a fan-out's items, the newest counting most; 0 if none is known.
    """

    seen_at: float = 0.0
    faded_at: float = 0.0
    sketch: Sketch = field(default_factory=Sketch)
    bodies: float = 0.0
    typical_s: float = 0.0
    ok: float = 0.0
    failed: float = 0.0
    held: float = 0.0
    refused: float = 0.0
    items: float = 0.0

    def observe_bodies(self, seconds: Sequence[float], *, ok: bool) -> None:
        """Bodies ended after ``seconds`` each, not empty."""
        count = len(seconds)
        known = min(self.bodies, 1 / _RECENT - 1)
        # The newest ``count`` at once: their plain mean, weighed as if they had come one by one.
        weight = 1 - (known / (known + 1)) ** count if known >= 1 / _RECENT - 1 else count / (known + count)
        self.typical_s += weight * (sum(seconds) / count - self.typical_s)
        self.bodies = min(self.bodies + count, DURATIONS_KEPT)
        if ok:
            self.sketch.add(seconds)
            if self.sketch.weight() >= 2 * DURATIONS_KEPT:
                self.sketch.fade(DURATIONS_KEPT / self.sketch.weight())

    def observe_ends(self, ok: int, failed: int) -> None:
        """So many bodies succeeded and failed."""
        self.ok, self.failed = _bounded(self.ok + ok, self.failed + failed, ENDS_KEPT)

    def observe_branch(self, held: int, refused: int) -> None:
        """The condition was true and false so many times."""
        self.held, self.refused = _bounded(self.held + held, self.refused + refused, BRANCHES_KEPT)

    def observe_items(self, count: int) -> None:
        """The step had ``count`` nodes."""
        self.items = float(count) if not self.items else self.items + 0.3 * (count - self.items)

    def touch(self, at: float) -> None:
        """Evidence of the time ``at`` follows: what is older fades by its age."""
        self.seen_at = max(self.seen_at, at)
        if not self.faded_at:
            self.faded_at = at
        elif at - self.faded_at >= _FADED_EVERY_S:
            self._fade(0.5 ** ((at - self.faded_at) / HALF_LIFE_S))
            self.faded_at = at

    def merge(self, other: Kind) -> None:
        """Take in what another scheduler knows of the same kind."""
        both = self.bodies + other.bodies
        if both:
            self.typical_s = (self.typical_s * self.bodies + other.typical_s * other.bodies) / both
        self.sketch.merge(other.sketch)
        self.bodies = both
        self.ok, self.failed = self.ok + other.ok, self.failed + other.failed
        self.held, self.refused = self.held + other.held, self.refused + other.refused
        if not self.items or (other.items and other.seen_at > self.seen_at):
            self.items = other.items
        self.seen_at, self.faded_at = max(self.seen_at, other.seen_at), max(self.faded_at, other.faded_at)

    def failure_odds(self) -> float:
        """Odds that a body fails: the mean of the Beta posterior."""
        return _posterior(self.failed, self.ok, FAILURE_PRIOR)

    def branch_odds(self) -> float:
        """Odds that the condition is true: the mean of the Beta posterior."""
        return _posterior(self.held, self.refused, BRANCH_PRIOR)

    def facts(self) -> dict[str, Any]:
        """As JSON data, without what is not known; ``Kind.of`` reads it."""
        flat = {
            "faded_at": self.faded_at,
            "bodies": self.bodies,
            "typical_s": self.typical_s,
            "ok": self.ok,
            "failed": self.failed,
            "held": self.held,
            "refused": self.refused,
            "items": self.items,
        }
        spread = [[float(f"{mean:.6g}"), float(f"{weight:.6g}")] for mean, weight in self.sketch.centroids()]
        return {name: value for name, value in flat.items() if value} | ({"seconds": spread} if spread else {})

    @classmethod
    def of(cls, facts: dict[str, Any], seen_at: float) -> Kind:
        """From ``facts()``; raises ``ValueError`` or ``TypeError`` if it is something else."""
        flat = {name: float(value) for name, value in facts.items() if name != "seconds"}
        sketch = Sketch((float(mean), float(weight)) for mean, weight in facts.get("seconds", ()))
        return cls(seen_at=seen_at, sketch=sketch, **flat)

    def _fade(self, share: float) -> None:
        self.sketch.fade(share)
        self.bodies *= share
        self.ok, self.failed, self.held, self.refused = (
            weight * share for weight in (self.ok, self.failed, self.held, self.refused)
        )


def _bounded(yes: float, no: float, kept: float) -> tuple[float, float]:
    total = yes + no
    return (yes, no) if total < 2 * kept else (yes * kept / total, no * kept / total)


def _posterior(yes: float, no: float, prior: tuple[float, float]) -> float:
    return (yes + prior[0]) / (yes + no + sum(prior))
