"""Holding the garbage collector off while something large is built.

A plan of 100,000 steps becomes some millions of objects that all stay; looking through them again
and again for garbage is a third of the time of reading and compiling it.
"""

from __future__ import annotations

import gc
import threading
from collections.abc import Callable
from functools import wraps
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
R = TypeVar("R")


class _Pause:
    """How many builds are going on, in all threads; the last one to end starts collecting again."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._builds = 0
        self._was_on = False

    def begin(self) -> None:
        with self._lock:
            if self._builds == 0:
                self._was_on = gc.isenabled()
                gc.disable()
            self._builds += 1

    def end(self) -> None:
        with self._lock:
            self._builds -= 1
            if self._builds == 0 and self._was_on:
                gc.enable()


_PAUSE = _Pause()


def uncollected(build: Callable[P, R]) -> Callable[P, R]:
    """``build``, without garbage collection while it runs; what it makes must be bounded."""

    @wraps(build)
    def held_off(*args: P.args, **kwargs: P.kwargs) -> R:
        _PAUSE.begin()
        try:
            return build(*args, **kwargs)
        finally:
            _PAUSE.end()

    return held_off
