"""How a program waits for a run: told by Redis where there is one, with a look at SQL as the floor."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

from engine.errors import Unavailable

_LOOK_S = 0.1


@contextmanager
def ended(redis_url: str | None, namespace: str, run_id: str) -> Iterator[Callable[[float], None]]:
    """A function that waits until the run's end is told, at most so many seconds.

    Without a Redis that answers it just waits a little: SQL says what is.
    """
    listener = None
    if redis_url is not None:
        from engine.hotstate.endings import Endings  # lazy: redis costs 200 ms that reading never needs

        with suppress(Unavailable):
            listener = Endings(redis_url, namespace, run_id)

    def wait(timeout_s: float) -> None:
        started = time.monotonic()
        try:
            if listener is not None and (listener.wait(timeout_s) or time.monotonic() - started >= timeout_s):
                return
        except Unavailable:
            pass
        time.sleep(max(0.0, min(_LOOK_S, timeout_s) - (time.monotonic() - started)))

    try:
        yield wait
    finally:
        if listener is not None:
            listener.close()
