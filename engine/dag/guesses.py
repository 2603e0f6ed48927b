"""Which step guesses which: a cheap step whose output stands for a dear one's until that is known.

A guess makes no edge: neither step waits for the other.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace

from engine.dag.compiled import CompiledStep
from engine.dag.drafts import Draft, Problems


def connect_guess(position: int, draft: Draft, drafts: Sequence[Draft], problems: Problems) -> None:
    """Find the step that ``draft`` names as its guesser; all edges are known by now."""
    name, where = draft.step.guess, (*draft.where, "guess")
    if not isinstance(name, str):  # a guesser in its place became a step when the plan was read
        return
    target = draft.scope.names.get(name)
    if target is None:
        problems.add_unknown("there is no step", name, draft.scope.names, where)
        return
    reason = None
    if target == position:
        reason = "a step cannot guess its own output"
    elif draft.step.for_each is not None or drafts[target].step.for_each is not None:
        reason = "a guess is of one output: neither step may have for_each"
    elif drafts[target].fallback_of is not None:
        reason = f"{name!r} runs only in place of another step, so it guesses nothing"
    elif _waits_for(target, position, drafts):
        reason = f"{name!r} waits for {draft.path!r}, so its guess would come too late"
    if reason is None:
        draft.guess = target
    else:
        problems.add(reason, where)


def with_guesses(steps: tuple[CompiledStep, ...]) -> tuple[CompiledStep, ...]:
    """``steps`` with each guesser told whose output it guesses."""
    guessed: dict[int, list[int]] = defaultdict(list)
    for step in steps:
        if step.guess is not None:
            guessed[step.guess].append(step.no)
    if not guessed:
        return steps
    return tuple(replace(step, guesses=tuple(guessed[step.no])) if step.no in guessed else step for step in steps)


def _waits_for(position: int, other: int, drafts: Sequence[Draft]) -> bool:
    """Whether a draft comes after another, however far."""
    seen, todo = {position}, [position]
    while todo:
        parents = drafts[todo.pop()].parents - seen
        seen |= parents
        todo += parents
    return other in seen
