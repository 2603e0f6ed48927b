"""The order of steps: generations, and cycles where there is no order."""

from __future__ import annotations

from collections.abc import Sequence

from engine.dag.drafts import Draft


def generations(drafts: Sequence[Draft]) -> list[int | None]:
    """For each draft how many steps the longest way to it has; ``None`` in or behind a cycle.

    A step's fall-back counts as coming before the step's consumers, which wait for both.
    """
    waiting, children = _waiting(drafts)
    levels: list[int | None] = [None] * len(drafts)
    ready = [position for position, count in enumerate(waiting) if count == 0]
    for position in ready:
        levels[position] = 0
    for position in ready:
        level = levels[position]
        assert level is not None
        for child in children[position]:
            waiting[child] -= 1
            if waiting[child] == 0:
                ready.append(child)
                levels[child] = level + 1
    return levels


def cycles(drafts: Sequence[Draft], levels: Sequence[int | None]) -> list[list[Draft]]:
    """Each cycle, first and last the same, in the order in which one waits for the other."""
    open_parents = {
        position: sorted(parent for parent in _before(position, drafts) if levels[parent] is None)
        for position, level in enumerate(levels)
        if level is None
    }
    found: list[list[Draft]] = []
    seen: set[int] = set()
    for start in open_parents:
        way: dict[int, None] = {}
        position = start
        while position not in seen and position not in way and open_parents[position]:
            way[position] = None
            position = open_parents[position][0]
        if position in way:
            steps = list(way)
            loop = steps[steps.index(position) :]
            found.append([drafts[entry] for entry in (loop[0], *reversed(loop))])
        seen.update(way)
    return found


def _waiting(drafts: Sequence[Draft]) -> tuple[list[int], list[list[int]]]:
    waiting = [0] * len(drafts)
    children: list[list[int]] = [[] for _ in drafts]
    for position in range(len(drafts)):
        before = _before(position, drafts)
        waiting[position] = len(before)
        for parent in before:
            children[parent].append(position)
    return waiting, children


def _before(position: int, drafts: Sequence[Draft]) -> set[int]:
    """What must be numbered before a draft: its parents, and the fall-backs of its parents."""
    parents = drafts[position].parents
    stand_ins = {
        fallback for parent in parents if (fallback := drafts[parent].fallback) is not None and fallback != position
    }
    return parents | stand_ins if stand_ins else parents
