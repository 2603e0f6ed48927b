"""How a program waits for a run: told by Redis where there is one, with a look at SQL as the floor."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from engine.errors import Unavailable

if TYPE_CHECKING:
    from engine.hotstate.endings import Endings

_LOOK_S = 0.1


class Listeners:
    """Connections that wait for ends of runs, kept for the next time. Safe for threads; close it."""

    def __init__(self, namespace: str) -> None:
        self._namespace = namespace
        self._idle: list[tuple[str, Endings]] = []

    @contextmanager
    def ended(self, redis_url: str | None, run_id: str) -> Iterator[Callable[[float], None]]:
        """A function that waits until the run's end is told, at most so many seconds.

        Without a Redis that answers it just waits a little: SQL says what is.
        """
        listener = None if redis_url is None else self._listening(redis_url, run_id)

        def wait(timeout_s: float) -> None:
            nonlocal listener
            started = time.monotonic()
            try:
                if listener is not None and (listener.wait(timeout_s) or time.monotonic() - started >= timeout_s):
                    return
            except Unavailable:
                _close(listener)
                listener = None
            time.sleep(max(0.0, min(_LOOK_S, timeout_s) - (time.monotonic() - started)))

        try:
            yield wait
        finally:
            if listener is not None and redis_url is not None:
                self._idle.append((redis_url, listener))

    def close(self) -> None:
        """Close every connection."""
        while self._idle:
            self._idle.pop()[1].close()

    def _listening(self, url: str, run_id: str) -> Endings | None:
        """One that hears of this run: an idle one if it still can, else a new one."""
        from engine.hotstate.endings import Endings  # lazy: redis costs 200 ms that reading never needs

        listener = self._taken(url)
        for _ in range(2):
            try:
                if listener is None:
                    listener = Endings(url, self._namespace)
                listener.listen(run_id)
                return listener
            except Unavailable:  # an idle connection may have been cut long ago
                _close(listener)
                listener = None
        return None

    def _taken(self, url: str) -> Endings | None:
        while self._idle:
            of_url, listener = self._idle.pop()
            if of_url == url:
                return listener
            listener.close()  # an embedded stack came and went
        return None


def _close(listener: Endings | None) -> None:
    if listener is not None:
        listener.close()
