"""One process of the stack: started in a session of its own, watched, and stopped with its children.

A child that dies with 75 (EX_TEMPFAIL) asks to be started anew, as a worker does that abandoned a
hung thread. No child outlives its parent: each holds the read end of a pipe whose write end only
the parent has, and Redis, which knows nothing of that, gets a signal from the kernel on Linux.
"""

from __future__ import annotations

import ctypes
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

RECYCLE = 75
_PR_SET_PDEATHSIG = 1
_LIBC = ctypes.CDLL(None, use_errno=True) if sys.platform == "linux" else None


@dataclass(frozen=True, slots=True)
class Command:
    """How to start a child. ``lifeline`` says that it takes ``--lifeline FD``; ``grace_s`` is its time to stop."""

    name: str
    arguments: tuple[str, ...]
    environment: Mapping[str, str]
    log: Path
    grace_s: float
    lifeline: bool = True


class Child:
    """A started process and its group.

    ``on_exit`` is called from a thread of its own, once, with the exit status.
    """

    def __init__(self, command: Command, on_exit: Callable[[Child], None] | None = None) -> None:
        self.command = command
        self.started_at = time.monotonic()
        self._lifeline: int | None = None
        self._process = self._start()
        self._on_exit = on_exit
        self._watcher = threading.Thread(target=self._watch, name=f"watch-{command.name}", daemon=True)
        self._watcher.start()

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def status(self) -> int | None:
        """Exit status, negative for a signal; ``None`` while it runs."""
        return self._process.returncode

    @property
    def lifetime_s(self) -> float:
        return time.monotonic() - self.started_at

    def _start(self) -> subprocess.Popen[bytes]:
        arguments: Sequence[str] = self.command.arguments
        passed: tuple[int, ...] = ()
        if self.command.lifeline:
            reader, self._lifeline = os.pipe()
            passed = (reader,)
            arguments = (*arguments, "--lifeline", str(reader))
        try:
            with self.command.log.open("ab") as log:
                return subprocess.Popen(  # noqa: S603 - the engine's own commands, never a shell
                    arguments,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    env=self.command.environment,
                    pass_fds=passed,
                    start_new_session=True,
                    # Only a system call on a library that is loaded already: safe after a fork.
                    preexec_fn=None if self.command.lifeline else _die_with_parent,
                )
        finally:
            for descriptor in passed:
                os.close(descriptor)

    def _watch(self) -> None:
        self._process.wait()
        self._sweep()
        if self._on_exit is not None:
            self._on_exit(self)

    def _sweep(self) -> None:
        """Kill what the process left in its group, and let go of its lifeline."""
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, signal.SIGKILL)
        if self._lifeline is not None:
            os.close(self._lifeline)
            self._lifeline = None

    def terminate(self) -> None:
        """Ask it to stop."""
        if self.status is None:
            with suppress(ProcessLookupError):
                self._process.terminate()

    def join(self, timeout_s: float) -> bool:
        """Wait until it has ended, at most ``timeout_s``; whether it has."""
        self._watcher.join(timeout_s)
        return not self._watcher.is_alive()

    def kill(self) -> None:
        """End it and its whole group at once."""
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, signal.SIGKILL)

    def shorten_log(self, limit_bytes: int) -> None:
        """Move what is in its log to ``….log.1``, in place of what was there, if that is more than ``limit_bytes``.

        It holds the file open and appends: so the file stays, and is emptied. A line written meanwhile may be lost.
        """
        log = self.command.log
        with suppress(OSError):
            if log.stat().st_size > limit_bytes:
                shutil.copyfile(log, log.with_suffix(".log.1"))
                os.truncate(log, 0)

    def last_lines(self, count: int = 12) -> list[str]:
        """The end of its log, for a message about its death."""
        with suppress(OSError), self.command.log.open("rb") as log:
            log.seek(max(0, log.seek(0, os.SEEK_END) - 8192))
            return log.read().decode("utf-8", "replace").splitlines()[-count:]
        return []


def _die_with_parent() -> None:
    if _LIBC is not None:
        _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
