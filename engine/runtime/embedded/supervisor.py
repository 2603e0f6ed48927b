"""Watches children: starts anew what dies, gives up on what keeps dying, stops all in order."""

from __future__ import annotations

import queue
import threading
import time

from engine.runtime.embedded.child import RECYCLE, Child, Command

SETTLED_S = 20.0
"""A child that lived this long starts with a clean record."""
DEATHS_MAX = 5
"""Deaths in a row after which a child is given up."""
DEATHS_LATELY_MAX, LATELY_S = 10, 600.0
"""So many deaths in so many seconds give a child up too, however long it lived between them."""
LOG_LIMIT_BYTES = 10_000_000
"""Size above which a child's log is put away, at a look while all is quiet: it may run for months."""
_STOP_ORDER = ("worker", "scheduler", "redis")


class Supervisor:
    """Keeps a set of commands running until told to stop.

    Children are started by the thread that lives longest: the kernel's parent-death signal follows
    the thread that forked, not the process. So the first start is the caller's main thread, and
    every later one is the watching thread, which ends only when all children have.

    ``logs_look_s`` are seconds between looks at how long their logs have become.
    """

    def __init__(self, logs_look_s: float = 10.0) -> None:
        self._logs_look_s = logs_look_s
        self._children: dict[str, Child] = {}
        self._deaths: dict[str, int] = {}
        self._lately: dict[str, list[float]] = {}
        self._ended: queue.SimpleQueue[Child | None] = queue.SimpleQueue()
        self._changed = threading.Condition()
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None
        self.failure: str | None = None
        self.restarts: dict[str, int] = {}

    def start(self, command: Command) -> Child:
        """Start a child, to be kept alive from now on."""
        child = Child(command, self._ended.put)
        with self._changed:
            self._children[command.name] = child
        return child

    def watch(self) -> None:
        """Begin to start anew what dies."""
        self._thread = threading.Thread(target=self._watch, name="supervisor", daemon=True)
        self._thread.start()

    def children(self) -> dict[str, Child]:
        """The present child of each name."""
        with self._changed:
            return dict(self._children)

    def _watch(self) -> None:
        while True:
            try:
                child = self._ended.get(timeout=self._logs_look_s)
            except queue.Empty:
                for running in self.children().values():
                    running.shorten_log(LOG_LIMIT_BYTES)
                continue
            if child is None:
                return
            if self._stopping.is_set():
                continue
            try:
                self._restart(child)
            except OSError as error:  # too many processes, no room for its log: nobody else would hear of it
                self.failure = f"{child.command.name} died ({_status(child)}) and cannot be started anew: {error}"

    def _restart(self, child: Child) -> None:
        name = child.command.name
        if child.status == 0 and name.startswith("worker"):
            return  # it was drained, and is not wanted back
        if child.status == RECYCLE:
            wait_s = 0.0
        else:
            self._deaths[name] = 1 if child.lifetime_s > SETTLED_S else self._deaths.get(name, 0) + 1
            wait_s = min(10.0, 0.2 * 2 ** self._deaths[name])
            if (often := self._too_often(name)) is not None:
                lines = "\n  ".join(child.last_lines())
                self.failure = f"{name} died {often} ({_status(child)}); the end of {child.command.log}:\n  {lines}"
                return
        if not self._stopping.wait(wait_s):
            self.restarts[name] = self.restarts.get(name, 0) + 1
            self.start(child.command)

    def _too_often(self, name: str) -> str | None:
        """How often a child died, if that was once too often."""
        now = time.monotonic()
        self._lately[name] = [at for at in self._lately.get(name, ()) if now - at < LATELY_S] + [now]
        if self._deaths[name] >= DEATHS_MAX:
            return f"{DEATHS_MAX} times in a row"
        if len(self._lately[name]) >= DEATHS_LATELY_MAX:
            return f"{DEATHS_LATELY_MAX} times in {LATELY_S / 60:g} minutes"
        return None

    def stop(self) -> list[str]:
        """Stop every child: workers, then the scheduler, which stores their last reports, then Redis.

        Returns
        -------
        list of str
            Names of those that did not stop in their time and were killed.
        """
        self._stopping.set()
        self._ended.put(None)
        stubborn = [name for kind in _STOP_ORDER for name in self._stop_kind(kind)]
        if self._thread is not None:
            self._thread.join(5)
        return stubborn

    def kill(self) -> list[str]:
        """End every child and its group at once; names of those that were still running."""
        self._stopping.set()
        running = [child for child in self.children().values() if child.status is None]
        for child in running:
            child.kill()
        for child in running:
            child.join(5)
        return [child.command.name for child in running]

    def _stop_kind(self, kind: str) -> list[str]:
        chosen = [child for name, child in self.children().items() if name.split("-")[0] == kind]
        for child in chosen:
            child.terminate()
        deadline = time.monotonic() + max((child.command.grace_s for child in chosen), default=0.0)
        stubborn = [child for child in chosen if not child.join(max(0.0, deadline - time.monotonic()))]
        for child in stubborn:
            child.kill()
            child.join(5)
        return [child.command.name for child in stubborn]


def _status(child: Child) -> str:
    status = child.status
    return f"exit {status}" if status is None or status >= 0 else f"signal {-status}"
