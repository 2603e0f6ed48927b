"""What bodies do: a pure function of the seed, the node, its inputs and the failures so far.

A result carries ``r``, which the inputs' own ``r`` go into, and ``x``, which names the execution: so
``r`` must be the same in a disturbed world, and ``x`` tells whose result a body was really given.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import orjson

from engine.wire import ErrorInfo, Outcome

TRUTH, GUESS = "t.truth", "t.guess"
"""Task types whose results do not name the execution: what one gives is what the other, if right, guesses."""


@dataclass(frozen=True, slots=True)
class Ending:
    """How a body ends, and after how many seconds."""

    outcome: Outcome
    seconds: float
    result: Any = None
    error: ErrorInfo | None = None


def ending(seed: int, path: str, item: int, task: str, tries: int, inputs: Any, execution: str) -> Ending:
    """How the body of a node ends, ``tries`` of whose bodies failed before."""
    node = zlib.crc32(f"{seed}/{path}/{item}".encode())
    seconds = (0.01, 0.03, 0.1, 0.4, 1.5)[node % 5] * (20.0 if task == "t.long" and node % 3 == 0 else 1.0)
    failures = (*[0] * 14, 1, 1, 1, 2, 2, 9)[(node >> 4) % 20]
    if task == TRUTH:
        seconds += 0.5
    if tries < failures:
        kind = (node >> 9) % 7
        error = ErrorInfo("Flaky" if kind < 5 else "Broken", f"{path} is out of luck")
        if kind == 6:
            error = ErrorInfo("Retryable", f"{path} wants to wait", retryable=True, delay_s=1.5)
        if kind == 4:
            error = ErrorInfo("Permanent", f"{path} is wrong", retryable=False)
        return Ending(Outcome.TIMED_OUT if kind == 3 else Outcome.FAILED, seconds, error=error)
    if task in (TRUTH, GUESS):
        of, right = (path, True) if task == TRUTH else (inputs["of"], inputs["right"])
        told = zlib.crc32(f"{seed}/{of}/truth".encode()) + (not right)
        return Ending(Outcome.OK, seconds, {"r": told, "list": list(range(told % 6))})
    told = zlib.crc32(f"{node}/".encode() + orjson.dumps(without_executions(inputs), option=orjson.OPT_SORT_KEYS))
    result = {"r": told, "x": execution, "list": list(range(told % 6))}
    if node % 23 == 0:
        result["text"] = "x" * 20_000  # travels as an artefact
    return Ending(Outcome.OK, seconds, result)


def without_executions(tree: Any) -> Any:
    """``tree`` without what differs between two executions of one body."""
    if isinstance(tree, dict):
        return {key: without_executions(value) for key, value in tree.items() if key != "x"}
    if isinstance(tree, list):
        return [without_executions(value) for value in tree]
    return tree


def executions(tree: Any) -> Iterator[str]:
    """The executions whose results are in ``tree``."""
    if isinstance(tree, dict):
        if isinstance(tree.get("x"), str):
            yield tree["x"]
        for value in tree.values():
            yield from executions(value)
    elif isinstance(tree, list):
        for value in tree:
            yield from executions(value)
