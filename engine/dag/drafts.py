"""Steps on their way from a plan to a compiled plan: still named, not yet numbered."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from engine.dag.compiled import ChildKind, Join, JoinKind
from engine.plan.clauses import AtLeast, Tolerate, Until
from engine.plan.document import PROBLEMS_LIMIT, Loc
from engine.plan.model import Plan, Step
from engine.plan.names import nearest
from engine.plan.problems import Finding


class Problems:
    """What was found wrong, up to a limit, each at a path in the whole plan."""

    def __init__(self) -> None:
        self.found: list[Finding] = []

    @property
    def full(self) -> bool:
        """Whether more would be told than anybody reads."""
        return len(self.found) >= PROBLEMS_LIMIT

    def add(self, message: str, loc: Loc, *, of_key: bool = False) -> None:
        """Note a problem with what is at ``loc``, or with the key there."""
        if not self.full:
            self.found.append(Finding(message, loc, of_key))

    def add_unknown(self, what: str, name: str, known: Iterable[str], loc: Loc, *, of_key: bool = False) -> None:
        """Note a name that is not known; the near one is looked for only if anybody will read it."""
        if not self.full:
            self.add(f"{what} {name!r}{nearest(name, known)}", loc, of_key=of_key)


@dataclass(slots=True, eq=False)
class Scope:
    """One plan on its place: the whole, or a sub-plan that was written into it.

    Parameters
    ----------
    prefix, where
        What its steps' paths, and the paths of their problems in the whole plan, start with.
    names
        Local step names to positions in the list of drafts.
    enter, leave
        Positions of the steps at the two ends of this sub-plan; ``None`` for the whole plan.
    ends
        For each step of the plan the first and the last draft it became: one and the same, but
        for a sub-plan.
    """

    plan: Plan
    prefix: str = ""
    where: Loc = ()
    names: dict[str, int] = field(default_factory=dict)
    enter: int | None = None
    leave: int | None = None
    ends: list[tuple[int, int]] = field(default_factory=list)


@dataclass(slots=True, eq=False)
class Draft:
    """One step: what was written, and what has been worked out of it so far.

    Positions are those in the list of drafts. ``asked`` are those parents that only the condition asks
    about, ``guess`` is the guesser. ``names``, ``reads`` and ``reads_inputs`` are as in
    ``CompiledStep``; ``child`` is set where its nodes are runs of their own, ``declared`` where it makes
    the inputs of a sub-plan: what that says of each.
    """

    path: str
    where: Loc
    step: Step
    task: str
    with_: dict[str, Any]
    scope: Scope
    join: Join
    when: str | None = None
    when_per_item: bool = False
    names: dict[str, int] = field(default_factory=dict)
    reads: set[int] = field(default_factory=set)
    reads_inputs: frozenset[str] = frozenset()
    parents: set[int] = field(default_factory=set)
    asked: frozenset[int] = frozenset()
    guess: int | None = None
    fallback: int | None = None
    fallback_of: int | None = None
    child: ChildKind | None = None
    declared: dict[str, dict[str, Any]] | None = None


_PLAIN_JOINS = {kind.value: Join(kind) for kind in (JoinKind.ALL, JoinKind.ANY, JoinKind.ALL_DONE)}
_PLAIN_JOINS["first"] = Join(JoinKind.ANY, prune=True)


def join_of(step: Step) -> Join:
    """A step's join as the scheduler reads it."""
    if isinstance(step.join, AtLeast):
        return Join(JoinKind.AT_LEAST, count=step.join.at_least, prune=step.join.prune)
    if isinstance(step.join, Until):
        return Join(JoinKind.UNTIL, until=step.join.until, prune=step.join.prune)
    if isinstance(step.join, Tolerate):
        return Join(JoinKind.TOLERATE, share=step.join.tolerate)
    return _PLAIN_JOINS[step.join]
