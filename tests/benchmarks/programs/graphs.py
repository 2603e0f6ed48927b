"""A graph as the benches hand it to every peer, and what its nodes do. Standard library only.

It is a list of ``[kind, argument, [numbers of parents]]``, parents first.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

Node = tuple[str, Any, list[int]]


def work(kind: str, argument: Any) -> float:
    """A node's body."""
    if kind == "fibonacci":
        return float(_fibonacci(argument))
    if kind == "sleep":
        time.sleep(argument)
        return float(argument)
    return 1.0


def _fibonacci(n: int) -> int:
    return n if n < 2 else _fibonacci(n - 1) + _fibonacci(n - 2)


def levels(nodes: Sequence[Node]) -> list[list[int]]:
    """Numbers of the nodes by the length of the longest path to them."""
    depth: list[int] = []
    for _, _, parents in nodes:
        depth.append(1 + max((depth[parent] for parent in parents), default=-1))
    found: list[list[int]] = [[] for _ in range(max(depth) + 1)]
    for number, level in enumerate(depth):
        found[level].append(number)
    return found


def drive(nodes: Sequence[Node], submit: Callable[[int], None], ended: Callable[[], int]) -> None:
    """Submit each node once its parents have ended; ``ended`` waits for the next that has."""
    children: list[list[int]] = [[] for _ in nodes]
    missing = [len(parents) for _, _, parents in nodes]
    for number, (_, _, parents) in enumerate(nodes):
        for parent in parents:
            children[parent].append(number)
    for number, count in enumerate(missing):
        if count == 0:
            submit(number)
    for _ in nodes:
        for child in children[ended()]:
            missing[child] -= 1
            if missing[child] == 0:
                submit(child)


def timed(run: Callable[[list[Node]], Sequence[float]]) -> Callable[..., dict[str, Any]]:
    """An action that runs a graph, checks the sum of its results, and says how long it took."""

    def action(nodes: list[Node], total: float) -> dict[str, Any]:
        started = time.perf_counter()
        results = run(nodes)
        seconds = time.perf_counter() - started
        if len(results) != len(nodes) or abs(sum(results) - total) > 1e-6:
            raise RuntimeError(f"wrong results: {len(results)} of {len(nodes)} nodes, sum {sum(results)} not {total}")
        return {"seconds": seconds}

    return action
