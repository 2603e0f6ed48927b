"""A Celery worker in this process, and what it lets us see of itself.

Everything that reaches into Celery's worker is here, so that the rest of the engine's worker needs
none of it. What is called back is ``Hooks``.
"""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import time
from collections.abc import Sequence
from typing import Any, Protocol

from celery import Celery, signals
from celery.exceptions import TimeLimitExceeded, WorkerLostError
from celery.worker import state
from kombu.asynchronous import get_event_loop

from engine.broker.closing import ClosesAtOnce
from engine.broker.early import TakesUpEarly
from engine.broker.events import EventsByTime
from engine.broker.pool import PreforkPool

EX_RECYCLE = 75
"""Exit code (EX_TEMPFAIL) that asks a supervisor for a fresh process."""

_BEAT_S = 0.25


def ignore_terminate() -> None:
    """Let SIGTERM pass by a child of a prefork pool: its parent decides when it ends.

    Supervisors send it to every process of a service, and bodies may finish then. A handler that does
    nothing, unlike an ignored signal, is not passed on to programs that a body starts.
    """
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, lambda *_: None)


class Hooks(Protocol):
    """What a worker process is told. Each is called on Celery's main thread, so it must be quick."""

    def child_started(self) -> None:
        """In a child of a prefork pool, right after its fork."""

    def ready(self) -> None:
        """The worker consumes."""

    def stopping(self) -> None:
        """The worker was told to stop, and lets its bodies finish."""

    def lost(self, delivery: dict[str, Any], why: str, *, timed_out: bool) -> None:
        """A child died, or was killed at its hard time limit, over this delivery."""

    def stopped(self, delivery: dict[str, Any]) -> None:
        """A child was killed by ``WorkerProcess.kill`` over this delivery."""

    def unknown(self, delivery: dict[str, Any]) -> None:
        """A message names a task type that this worker does not know."""


class WorkerProcess:
    """One Celery worker, started programmatically.

    Parameters
    ----------
    pool
        ``prefork`` or ``threads``.
    name
        Node name, ``cpu@host``: what Flower shows.
    """

    def __init__(
        self,
        app: Celery,
        hooks: Hooks,
        *,
        queues: Sequence[str],
        pool: str,
        concurrency: int,
        name: str,
        log_level: str,
    ) -> None:
        self._hooks = hooks
        self._beat_at = time.monotonic()
        self._killed: set[str] = set()
        self._connect()
        app.steps["consumer"].update((EventsByTime, ClosesAtOnce, TakesUpEarly))
        self._worker = app.Worker(
            hostname=name,
            pool=PreforkPool if pool == "prefork" else pool,
            concurrency=concurrency,
            queues=list(queues),
            loglevel=log_level,
            optimization="fair",
            without_gossip=True,
            without_mingle=True,
            quiet=True,
        )

    def run(self) -> int:
        """Work until stopped; the exit code."""
        self._worker.start()
        return int(self._worker.exitcode or 0)

    def stop(self, exit_code: int) -> None:
        """Take no more messages, let bodies finish, then leave ``run``. From any thread."""
        state.should_stop = exit_code
        self._wake()

    def kill(self, token: str) -> None:
        """Kill the child that works on a delivery, if one still does. For a prefork pool, from any thread.

        Done by the main loop, which alone gives a child its next message, and only after it has read
        the result of the one before: a child whose message has no result here is on no other.
        """
        hub = get_event_loop()
        if hub is not None:
            hub.call_soon(self._kill, token)  # type: ignore[no-untyped-call]  # kombu says it is typed and is not

    def _kill(self, token: str) -> None:
        for request in list(state.active_requests):
            job = request._apply_result() if request._apply_result is not None else None
            if request.id != token or job is None or job.ready():
                continue
            for pid in job.worker_pids():
                self._killed.add(token)
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)

    def active(self) -> list[dict[str, Any]]:
        """The deliveries that a slot works on. From any thread."""
        for _ in range(100):
            # Celery's main thread may add one while we look.
            with contextlib.suppress(RuntimeError):
                return [request.kwargs["delivery"] for request in state.active_requests if "delivery" in request.kwargs]
        return []

    def accepted(self) -> int:
        """Messages that slots have taken up since the start."""
        return int(state.all_total_count[0])

    def beat_age_s(self) -> float:
        """Seconds since Celery's main loop last came round."""
        return time.monotonic() - self._beat_at

    def _connect(self) -> None:
        hooks = self._hooks
        # Strong references: these receivers are nobody else's.
        signals.worker_process_init.connect(lambda **_: hooks.child_started(), weak=False)
        signals.worker_ready.connect(self._on_ready, weak=False)
        signals.worker_shutting_down.connect(self._on_shutting_down, weak=False)
        signals.task_failure.connect(self._on_failure, weak=False)
        signals.task_unknown.connect(self._on_unknown, weak=False)

    def _on_shutting_down(self, **_: Any) -> None:
        # In a signal's handler: the main loop may hold the lock that waking it takes, and goes on to
        # wait for up to a second if nobody does.
        threading.Thread(target=self._wake, name="wake", daemon=True).start()
        self._hooks.stopping()

    def _wake(self) -> None:
        """Let the main loop look around now. Not from its own thread."""
        hub = get_event_loop()
        if hub is not None:
            hub.call_soon(_nothing)  # type: ignore[no-untyped-call]  # kombu says it is typed and is not

    def _on_ready(self, sender: Any, **_: Any) -> None:
        sender.timer.call_repeatedly(_BEAT_S, self._beat)
        self._hooks.ready()

    def _beat(self) -> None:
        self._beat_at = time.monotonic()
        # A prefork pool notices a dead child at once, but says which message it held only at its next
        # round, five seconds apart. For threads this does nothing.
        self._worker.pool.maintain_pool()

    def _on_failure(self, exception: BaseException, kwargs: dict[str, Any], **_: Any) -> None:
        # In a child, and on a thread, this is a body's own failure, which the pipeline reports.
        if isinstance(exception, WorkerLostError | TimeLimitExceeded) and "delivery" in kwargs:
            if kwargs["delivery"]["token"] in self._killed:
                self._killed.discard(kwargs["delivery"]["token"])
                self._hooks.stopped(kwargs["delivery"])
                return
            timed_out = isinstance(exception, TimeLimitExceeded)
            why = f"ran past the hard limit of {exception}" if timed_out else str(exception)
            self._hooks.lost(kwargs["delivery"], why, timed_out=timed_out)

    def _on_unknown(self, message: Any, **_: Any) -> None:
        with contextlib.suppress(ValueError, TypeError, KeyError, IndexError):
            self._hooks.unknown(message.payload[1]["delivery"])


def _nothing() -> None:
    """What a loop is woken with."""
