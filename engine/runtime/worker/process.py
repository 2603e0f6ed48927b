"""The worker process: what is started, what happens at its end, and which exit code says what.

Exit code 0: it was told to stop and did. 75: it wants to be replaced by a fresh one.
"""

from __future__ import annotations

import logging
import os
import socket
import sys
import threading
from collections.abc import Sequence
from typing import Any, NoReturn

from engine.broker.app import declare, make_app, register_tasks
from engine.broker.lifecycle import EX_RECYCLE, WorkerProcess
from engine.hotstate.worker import WorkerHotState
from engine.plan.registry import load_task_modules
from engine.runtime import faults
from engine.runtime.logs import set_up_logging
from engine.runtime.masking import Masker
from engine.runtime.ports import WorkerInfo
from engine.runtime.worker.losses import Losses
from engine.runtime.worker.pipeline import Pipeline
from engine.runtime.worker.services import ShutdownSign, open_services
from engine.runtime.worker.watch import Watch
from settings import Settings

_LOG = logging.getLogger(__name__)
_LAST_WORDS_S = 2.0
_DEAF_S = 1.0  # what a body that was interrupted gets to end


def main(queues: Sequence[str], pool: str, concurrency: int, settings: Settings, name: str | None = None) -> NoReturn:
    """Run a worker in this process until it is told to stop, and end the process.

    Parameters
    ----------
    queues
        Queues to consume, all declared by the settings or by plans.
    pool
        ``prefork`` (processes: bodies that compute, and can be killed) or ``threads`` (bodies that wait).
    concurrency
        Slots.
    name
        Node name without the host, as Flower shows it; by default the first queue and the process id.
    """
    worker = Worker(queues, pool, concurrency, settings, name or f"{queues[0]}.{os.getpid()}")
    worker.run()


class Worker:
    """One worker process; it is the ``Hooks`` of its Celery worker."""

    def __init__(self, queues: Sequence[str], pool: str, concurrency: int, settings: Settings, name: str) -> None:
        self._settings = settings
        faults.arm(settings.fault)
        self._name = f"{name}@{socket.gethostname()}"
        self._masker = Masker()
        set_up_logging(settings, self._masker, worker=self._name)
        self._prefork = pool == "prefork"
        self._registry = load_task_modules(settings.task_modules)
        self._shutdown = ShutdownSign()
        self._pipeline = Pipeline()
        self._leaving: threading.Timer | None = None
        app = make_app(settings)
        declare(app, queues)
        register_tasks(app, self._registry.names(), self._pipeline.run)
        self._hot = WorkerHotState(settings.redis_url or "", settings.namespace)
        self._losses = Losses(self._hot, self._name, settings.worker_lease_s)
        self._process = WorkerProcess(
            app, self, queues=queues, pool=pool, concurrency=concurrency, name=self._name, log_level="WARNING"
        )
        info = WorkerInfo(self._name, tuple(queues), concurrency, self._registry.code_digest())
        deaf_after_s = settings.stop_grace_s + _DEAF_S if self._prefork else None
        self._watch = Watch(
            self._process, self._hot, info, settings.heartbeat_s, settings.worker_lease_s, self._recycle, deaf_after_s
        )

    def run(self) -> NoReturn:
        """Work until stopped, and end this process with its exit code."""
        if not self._prefork:
            self._open()
        code = self._process.run()
        self._watch.end()
        logging.shutdown()
        sys.stdout.flush()
        sys.stderr.flush()
        # Taking Python down takes a third of a second, and nothing here needs it. An abandoned body
        # must neither hold up the exit nor run meanwhile.
        os._exit(code)

    def child_started(self) -> None:
        """See ``Hooks``."""
        self._open()

    def ready(self) -> None:
        """See ``Hooks``."""
        self._watch.start()
        _LOG.info("worker %s is ready", self._name)

    def stopping(self) -> None:
        """See ``Hooks``: running bodies have ``stop_grace_s`` to finish."""
        self._shutdown.set()
        self._leave_within(self._settings.stop_grace_s, 0)

    def lost(self, delivery: dict[str, Any], why: str, *, timed_out: bool) -> None:
        """See ``Hooks``."""
        self._losses.lost(delivery, why, timed_out=timed_out)

    def stopped(self, delivery: dict[str, Any]) -> None:
        """See ``Hooks``."""
        self._losses.stopped(delivery)

    def unknown(self, delivery: dict[str, Any]) -> None:
        """See ``Hooks``."""
        self._losses.unknown(delivery)

    def _open(self) -> None:
        self._pipeline.open(
            open_services(self._settings, self._registry, self._name, self._shutdown, self._recycle, self._masker)
        )

    def _recycle(self, reason: str) -> None:
        if self._leaving is not None:
            return
        _LOG.error("worker %s asks to be replaced: %s", self._name, reason)
        self._shutdown.set()
        self._leave_within(self._settings.stop_grace_s, EX_RECYCLE)
        self._process.stop(EX_RECYCLE)

    def _leave_within(self, seconds: float, code: int) -> None:
        if self._leaving is None:
            self._leaving = threading.Timer(seconds, self._leave_now, (code,))
            self._leaving.daemon = True
            self._leaving.start()

    def _leave_now(self, code: int) -> None:
        """The grace is over: say which deliveries are lost, and go. Children die with their parent."""
        _LOG.error("worker %s leaves bodies behind that did not finish in time", self._name)
        why = f"its worker stopped and waited {self._settings.stop_grace_s:g} s for it"
        words = [self._losses.lost(delivery, why, timed_out=False) for delivery in self._process.active()]
        for word in words:
            word.join(_LAST_WORDS_S)
        os._exit(code)
