"""Start, watch and stop the processes that run plans on this machine.

One process owns the stack of a home; others that come meanwhile share it, and the owner waits for
them before it stops. Children start in parallel: a worker's imports take longer than Redis's start.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterable

from engine.errors import Unavailable
from engine.runtime.embedded.child import Command
from engine.runtime.embedded.home import Home, Lock, StackInfo
from engine.runtime.embedded.redis import RedisPlace
from engine.runtime.embedded.supervisor import LOG_LIMIT_BYTES, Supervisor
from settings import Settings, as_environment

ATTACH_TIMEOUT_S = 30.0
_LOOK_S = 0.5
"""How often one that shares a stack looks whether its owner has failed or gone."""


class Stack:
    """The embedded stack of one home, as this process sees it: its own, or another's that it shares.

    Parameters
    ----------
    settings
        Where ``redis_url`` is set, that server is used and none is started.
    command
        What people typed, told to others that share the stack.
    """

    def __init__(self, settings: Settings, command: str = "flywheel run") -> None:
        self._given = settings
        self._command = command
        self.home = Home(settings.home)
        self._place = RedisPlace(self.home) if settings.redis_url is None else None
        self._url = settings.redis_url if self._place is None else self._place.url
        self.settings = settings.model_copy(update={"redis_url": self._url})
        self.supervisor = Supervisor()
        self.owner: StackInfo | None = None
        self._served: set[str] = set()
        self._told: str | None = None
        self._look_at = float("-inf")
        self._ready = False
        self._own: Lock | None = None
        self._use: Lock | None = None
        self._closing: Lock | None = None

    @property
    def owned(self) -> bool:
        """Whether this process started the stack and will stop it."""
        return self._own is not None

    @property
    def failure(self) -> str | None:
        """Why the stack cannot work, or ``None``: a child keeps dying, here or at its owner, or the owner is gone.

        To be asked now and then: it is how an owner's failure is told to those that share its stack.
        """
        own = self.supervisor.failure
        if self.owned and own is not None and own != self._told:
            self._told = own
            self._publish()
        if own is not None or self.owner is None or self.owned or time.monotonic() < self._look_at:
            return own or self._told
        self._look_at = time.monotonic() + _LOOK_S
        found = self.home.info()
        if found is None or found.pid != self.owner.pid:
            self._told = f"process {self.owner.pid} ({self.owner.command}), which ran the stack here, has ended"
        elif found.failure is not None:
            self._told = f"in the stack of process {found.pid}: {found.failure}"
        return self._told

    def start(self) -> None:
        """Start Redis and a scheduler, or find those of another owner; return when Redis answers.

        Raises
        ------
        Unavailable
            If Redis cannot be started, or another owner's stack does not come up.
        SettingsError
            If what the installation says of models and money does not hold: each child would die of it.
        """
        if self._given.economy is not None:
            from settings.economy import load_economy  # lazy: most installations have no such file

            load_economy(self._given.economy)
        self._own = self.home.own()
        try:
            if self._own is None:
                self._attach()
            else:
                self._launch()
        except BaseException:
            self.stop()
            raise

    def _launch(self) -> None:
        self._use = self.home.use()
        for log in self.home.logs.glob("*.log"):
            if log.stat().st_size > LOG_LIMIT_BYTES:
                log.replace(log.with_suffix(".log.1"))
        if self._place is None:
            self.supervisor.start(self._scheduler())
        else:
            self._place.end_leftover()
            redis = self.supervisor.start(self._place.command())
            self.supervisor.start(self._scheduler())
            self._place.wait(redis)
        self.supervisor.watch()
        self._publish()

    def _attach(self) -> None:
        deadline = time.monotonic() + ATTACH_TIMEOUT_S
        while (self.owner is None or self._use is None) and time.monotonic() < deadline:
            self._own = self.home.own()
            if self._own is not None:  # the owner was stopping and is gone: take its place
                self._launch()
                return
            self._use = self._use or self.home.use()
            self.owner = self.home.info()
            time.sleep(0.05)
        if self.owner is None or self._use is None:
            logs = self.home.logs
            raise Unavailable(f"another flywheel process holds {self.home.path} but offers no stack; see {logs}")
        self._served = set(self.owner.queues)
        self.supervisor.watch()

    def serve(self, queues: Iterable[str]) -> None:
        """Start the workers that ``queues`` still need: ``cpu`` in processes, every other queue in threads."""
        for group in sorted({_group(queue) for queue in queues} - {_group(queue) for queue in self._served}):
            self.supervisor.start(self._worker(group))
            self._served.update(queue for queue in self._given.queues if _group(queue) == group)
        if self.owned:
            self._publish()

    def _publish(self) -> None:
        served = tuple(queue for queue in self._given.queues if queue in self._served)
        self.home.publish(StackInfo(os.getpid(), self._url or "", served, self._command, self._ready, self._told))

    def mark_ready(self) -> None:
        """Tell others that everything answers."""
        self._ready = True
        self._publish()

    def _scheduler(self) -> Command:
        return self._engine("scheduler", ("scheduler",), grace_s=10.0)

    def _worker(self, group: str) -> Command:
        queues = [queue for queue in self._given.queues if _group(queue) == group]
        pool, slots = ("prefork", self._given.cpu_slots) if group == "cpu" else ("threads", self._given.io_slots)
        arguments = ("worker", "--queues", ",".join(queues), "--pool", pool, "--concurrency", str(slots))
        return self._engine(f"worker-{group}", arguments, grace_s=self._given.stop_grace_s + 5)

    def _engine(self, name: str, arguments: tuple[str, ...], grace_s: float) -> Command:
        # -P: a folder named `engine` or `tasks` in the current folder must not stand in for ours.
        command = (sys.executable, "-P", "-m", "engine.cli.main", *arguments)
        return Command(name, command, as_environment(self.settings), self.home.logs / f"{name}.log", grace_s)

    def in_use(self) -> bool:
        """Whether other processes rely on this stack; if not, none can from now on."""
        if self._use is not None:
            self._use.release()
            self._use = None
        self._closing = self._closing or self.home.close()
        return self._closing is None

    def stop(self) -> list[str]:
        """Stop what this process started, workers first and Redis last.

        Returns
        -------
        list of str
            Names of the processes that had to be killed.
        """
        return self._end(self.supervisor.stop)

    def kill(self) -> list[str]:
        """End what this process started, at once; names of what was still running."""
        return self._end(self.supervisor.kill)

    def _end(self, end: Callable[[], list[str]]) -> list[str]:
        if self.owned:
            self.home.withdraw()
        stubborn = end()
        for lock in filter(None, (self._use, self._closing, self._own)):
            lock.release()
        self._own = self._use = self._closing = None
        return stubborn


def _group(queue: str) -> str:
    return "cpu" if queue == "cpu" else "io"
