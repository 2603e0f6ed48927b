"""A thread of a child's own for what can be done while a body runs: marks for the next bodies, reports of the last.

It never decides that a body begins, and knows no delivery: what it is given says when it is due again. One
delivery at a time uses it, so only processes whose bodies run on the main thread have one.
"""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections.abc import Callable

from engine.errors import Unavailable

_LOG = logging.getLogger(__name__)

Chore = Callable[[], float | None]
"""Does what is due; seconds until it is to be called again, ``None`` for never."""


class Aside:
    """Does chores, the one that was given last again and again."""

    def __init__(self) -> None:
        self._chores: queue.SimpleQueue[Chore] = queue.SimpleQueue()
        threading.Thread(target=self._run, name="aside", daemon=True).start()

    def put(self, chore: Chore) -> None:
        """Do ``chore`` now. One that asked to be called again and was not yet is forgotten if this asks as well."""
        self._chores.put(chore)

    def _run(self) -> None:
        again: Chore | None = None
        due_at = 0.0
        while True:
            try:
                chore = self._chores.get(timeout=None if again is None else max(0.0, due_at - time.monotonic()))
            except queue.Empty:
                assert again is not None
                chore = again
            wait_s = _done(chore)
            if wait_s is not None:
                again, due_at = chore, time.monotonic() + wait_s
            elif chore == again:
                again = None


def _done(chore: Chore) -> float | None:
    try:
        return chore()
    except Unavailable:
        return None  # whoever needs it does it himself, and waits for Redis there
    except Exception:  # noqa: BLE001 - whoever needs it does it himself; the thread must go on
        _LOG.exception("aside")
        return None
