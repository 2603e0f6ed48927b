"""What happened in a run since it was last asked whether something may end before its time.

Kept only for plans that have such a thing: a goal, a sample, a join that prunes. Decides nothing.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from hashlib import blake2b

from engine.dag.compiled import CompiledPlan, JoinKind
from engine.scheduling.events import Question

OVERSHOOT = 100
"""A sample is looked at again once it grew by one in so many: what a run spends on looking is linear."""


@dataclass(slots=True)
class News:
    """What a run has to tell of itself.

    Parameters
    ----------
    ended
        Steps that got a final state.
    sampled, failed
        Steps of whose nodes one ended; one failed.
    joins
        Waiting steps, whose join is an expression, with a parent that ended.
    asked
        Questions without an answer yet.
    looked_at
        How many nodes had ended when a step's sample was last looked at.
    errors
        Attempts that failed, by a hash of their error's type and message: there may be as many texts as nodes.
    repeated
        How many attempts failed with an error that came too often, by its type and message.
    doomed
        The step whose failure nobody can do without; ``None`` while there is none.
    """

    ended: list[int] = field(default_factory=list)
    sampled: set[int] = field(default_factory=set)
    failed: set[int] = field(default_factory=set)
    joins: set[int] = field(default_factory=set)
    asked: set[tuple[Question, int]] = field(default_factory=set)
    looked_at: dict[int, int] = field(default_factory=dict)
    errors: Counter[bytes] = field(default_factory=Counter)
    repeated: dict[str, int] = field(default_factory=dict)
    doomed: int | None = None

    @property
    def goal_is_open(self) -> bool:
        """Whether what ended last may have reached the goal, and nobody has looked yet."""
        return bool(self.ended) or (Question.GOAL, -1) in self.asked

    def node_ended(self, no: int, sampled: bool, *, failed: bool) -> None:
        """A node of step ``no`` has its final state."""
        if sampled:
            self.sampled.add(no)
        if failed:
            self.failed.add(no)

    def parent_ended(self, no: int, *, any_ended: bool) -> None:
        """The join of step ``no`` is an expression, and may hold now."""
        if any_ended:
            self.joins.add(no)

    def failed_with(self, error: str, most: int, times: int = 1) -> None:
        """Attempts failed with ``error`` (type and message), which may happen fewer than ``most`` times."""
        key = blake2b(error.encode("utf-8", "surrogatepass"), digest_size=16).digest()
        self.errors[key] += times
        if self.errors[key] >= most:
            self.repeated[error] = self.errors[key]

    def all_is_new(self, ended: Iterable[int], running: Iterable[int]) -> None:
        """Another scheduler took the run over: what was asked before is asked again."""
        self.ended += ended
        for no in running:
            self.sampled.add(no)
            self.failed.add(no)

    def due(self, no: int, ended: int) -> bool:
        """Whether a sample of ``ended`` nodes has grown enough to be looked at; notes that it is."""
        last = self.looked_at.get(no, 0)
        if ended < last + max(1, last // OVERSHOOT):
            return False
        self.looked_at[no] = ended
        return True


def news_of(plan: CompiledPlan) -> News | None:
    """An empty page for a run of ``plan``; ``None`` if nothing in it can end before its time."""
    early = any(step.sampled or step.join.prune or step.join.kind is JoinKind.UNTIL for step in plan.steps)
    return News() if early or plan.ending is not None else None
