"""Celery's prefork pool, without the waits that it does not need.

A child that ends tells its parent and then sleeps for a second, so that the parent can kill it: at
every stop of a worker, and whenever a child has done its share of messages. And stopping the pool
waits for half a second more, for a thread that keeps timers going while bodies finish.
"""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from typing import Any

from celery import signals
from celery.concurrency.prefork import TaskPool

from engine.broker.early import HandsOverAtOnce


class PreforkPool(TaskPool):  # type: ignore[misc]  # celery has no types
    """A pool of processes that stops at once when it is idle."""

    Pool = HandsOverAtOnce
    _pool: Any

    def on_start(self) -> None:
        """Fork the children, which inherit how they are to end."""
        signals.worker_process_shutdown.connect(_leave, weak=False)
        super().on_start()

    def on_stop(self) -> None:
        """Let bodies finish; with none there is nothing to keep timers going for."""
        pool = self._pool
        if pool is None or pool._cache:
            super().on_stop()
            return
        pool.close()
        pool.join()
        self._pool = None


def _leave(exitcode: int | None, **_: Any) -> None:
    """End this child now: its results are with its parent, which sees its end by itself."""
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):
            stream.flush()
    os._exit(exitcode or 0)
