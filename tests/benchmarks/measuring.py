"""How sides are measured: alternating in one run, with what else the machine did meanwhile."""

from __future__ import annotations

import os
import platform
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import suppress

import psutil

Side = Callable[[], float]
"""Does the work once and checks its results; the seconds it took."""


class LoadMeter:
    """Cores that processes other than this one and its descendants used since it was made, on average."""

    def __init__(self) -> None:
        self._at, self._all, self._own = time.monotonic(), _busy_s(), _own_s()

    def read(self) -> float:
        """Cores; zero on an idle machine."""
        elapsed_s = max(1e-9, time.monotonic() - self._at)
        return max(0.0, (_busy_s() - self._all - (_own_s() - self._own)) / elapsed_s)


def _busy_s() -> float:
    times = psutil.cpu_times()
    return float(sum(times) - times.idle - getattr(times, "iowait", 0.0) - getattr(times, "guest", 0.0))


def _own_s() -> float:
    total = 0.0
    me = psutil.Process()
    for process in [me, *me.children(recursive=True)]:
        with suppress(psutil.Error):
            times = process.cpu_times()
            # Children that ended and were waited for count with their parent.
            total += times.user + times.system + times.children_user + times.children_system
    return total


def say(line: str) -> None:
    """One line of progress; standard output is for figures only."""
    print(line, file=sys.stderr, flush=True)


def alternate(bench: str, repeats: int, sides: Mapping[str, Side], warm: bool = True) -> dict[str, list[float]]:
    """Each side in turn, ``repeats`` times, after one turn of each that does not count."""
    taken: dict[str, list[float]] = {name: [] for name in sides}
    for turn in range(-1 if warm else 0, repeats):
        for name, side in sides.items():
            seconds = side()
            if turn >= 0:
                taken[name].append(seconds)
            label = f"{turn + 1}/{repeats}" if turn >= 0 else "warm-up"
            say(f"  {bench} {label:>7}  {name}: {seconds:.4g}")
    return taken


def machine() -> str:
    """What the figures were taken on, in one line."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return f"{cores} cores, {platform.system()} {platform.machine()}, Python {platform.python_version()}"
