"""Starting a program under ``tasks.supervisor`` and waiting for it, its output held within bounds.

Knows nothing of plans, contexts or settings. Nothing of the child outlives ``run_child``.
"""

from __future__ import annotations

import json
import os
import selectors
import signal
import subprocess
import sys
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

_SUPERVISOR = str(Path(__file__).with_name("supervisor.py"))
_POLL_S = 0.02
_CHUNK = 64 * 1024


class Clipped:
    """The beginning and the end of a stream, ``limit`` bytes in all; what lay between is counted."""

    def __init__(self, limit: int) -> None:
        self._head_room, self._tail_limit = limit - limit // 2, limit // 2
        self._head = bytearray()
        self._tail: deque[bytes] = deque()
        self._tail_bytes = 0
        self.total = 0

    def add(self, data: bytes) -> None:
        self.total += len(data)
        taken = data[: self._head_room - len(self._head)]
        self._head += taken
        if rest := data[len(taken) :]:
            self._tail.append(rest)
            self._tail_bytes += len(rest)
            while self._tail and self._tail_bytes - len(self._tail[0]) >= self._tail_limit:
                self._tail_bytes -= len(self._tail.popleft())

    @property
    def truncated(self) -> bool:
        return self.total > self._head_room + self._tail_limit

    def text(self) -> str:
        """What was kept as text, with a mark where something is left out."""
        tail = b"".join(self._tail)
        if not self.truncated:
            return (bytes(self._head) + tail).decode("utf-8", "replace")
        tail = tail[len(tail) - self._tail_limit :]
        left_out = self.total - len(self._head) - len(tail)
        mark = f"\n[… {left_out:,} bytes left out …]\n"
        return self._head.decode("utf-8", "replace") + mark + tail.decode("utf-8", "replace")


@dataclass(frozen=True, slots=True)
class ChildEnd:
    """How a program ended: one of ``exit_code``, ``signal`` and ``error`` (could not be started).

    ``stopped`` says why it was stopped early: ``cancelled``, ``timeout`` or nothing.
    """

    stdout: Clipped
    stderr: Clipped
    duration_s: float
    exit_code: int | None = None
    signal: int | None = None
    error: str | None = None
    stopped: str = ""


@dataclass(slots=True)
class _Watched:
    process: subprocess.Popen[bytes]
    control: int
    status: int
    stdin: memoryview
    streams: dict[Any, Clipped]
    said: bytearray = field(default_factory=bytearray)


def run_child(
    argv: Sequence[str],
    *,
    cwd: Path,
    environment: Mapping[str, str],
    stdin: str = "",
    timeout_s: float | None = None,
    output_limit: int,
    grace_s: float,
    stop_requested: Callable[[], bool],
) -> ChildEnd:
    """Run ``argv`` and return how it ended, when no process of its tree is left.

    Parameters
    ----------
    timeout_s
        Seconds after which the tree is ended; ``None`` means never.
    output_limit
        Bytes kept of each of its two streams.
    grace_s
        Seconds between TERM and KILL.
    stop_requested
        Asked every 20 ms; once true, the tree is ended.

    Raises
    ------
    OSError
        If not even the supervisor can be started.
    """
    begun = time.monotonic()
    child = _spawn(argv, cwd, environment, stdin, grace_s, output_limit)
    try:
        stopped = _wait(child, begun, timeout_s, grace_s, stop_requested)
    finally:
        _finish(child)
    stdout, stderr = child.streams.values()
    facts: dict[str, Any] = {}
    for line in bytes(child.said).splitlines():
        facts |= json.loads(line)
    return ChildEnd(
        stdout,
        stderr,
        time.monotonic() - begun,
        exit_code=facts.get("exit"),
        # A supervisor that died without a word was killed, and the program with it.
        signal=facts.get("signal", signal.SIGKILL if not facts.keys() & {"exit", "error"} else None),
        error=facts.get("error"),
        stopped=stopped,
    )


def _spawn(
    argv: Sequence[str], cwd: Path, environment: Mapping[str, str], stdin: str, grace_s: float, output_limit: int
) -> _Watched:
    control_read, control = os.pipe()
    status, status_write = os.pipe()
    try:
        process = subprocess.Popen(  # noqa: S603 - argv is a list, no shell
            [sys.executable, "-I", "-S", _SUPERVISOR, str(control_read), str(status_write), str(grace_s), "--", *argv],
            cwd=cwd,
            env=dict(environment),
            stdin=subprocess.PIPE if stdin else subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            pass_fds=(control_read, status_write),
            start_new_session=True,  # a Ctrl-C at the terminal is the engine's to pass on
        )
    except BaseException:
        os.close(control)
        os.close(status)
        raise
    finally:
        os.close(control_read)
        os.close(status_write)
    streams = {process.stdout: Clipped(output_limit), process.stderr: Clipped(output_limit)}
    return _Watched(process, control, status, memoryview(stdin.encode("utf-8", "surrogateescape")), streams)


def _wait(
    child: _Watched, begun: float, timeout_s: float | None, grace_s: float, stop_requested: Callable[[], bool]
) -> str:
    """Serve the pipes until all are closed; why the child was stopped, or nothing."""
    stopped = ""
    patience = float("inf")
    with selectors.DefaultSelector() as selector:
        for stream in (*child.streams, child.status):
            selector.register(stream, selectors.EVENT_READ)
        if child.process.stdin:
            os.set_blocking(child.process.stdin.fileno(), False)
            selector.register(child.process.stdin, selectors.EVENT_WRITE)
        while selector.get_map():
            for key, _ in selector.select(_POLL_S):
                _serve(child, key.fileobj, selector)
            now = time.monotonic()
            if child.status not in selector.get_map():
                # The supervisor has ended. Were it killed, strays may hold the pipes open for ever.
                patience = min(patience, now + 1.0)
            if not stopped:
                late = timeout_s is not None and now - begun >= timeout_s
                stopped = "timeout" if late else "cancelled" if stop_requested() else ""
                if stopped:
                    os.close(child.control)
                    child.control = -1
                    patience = now + grace_s + 5.0
            if now > patience:
                break  # or a process is stuck in the kernel, which not even KILL ends
    return stopped


def _serve(child: _Watched, stream: Any, selector: selectors.BaseSelector) -> None:
    """Move what is ready on one pipe; forget the pipe at its end."""
    if child.process.stdin and stream is child.process.stdin:
        try:
            child.stdin = child.stdin[os.write(stream.fileno(), child.stdin[:_CHUNK]) :]
        except BrokenPipeError:
            child.stdin = child.stdin[:0]  # it closed its input: its right
        if not child.stdin:
            selector.unregister(stream)
            stream.close()
        return
    data = os.read(stream if isinstance(stream, int) else stream.fileno(), _CHUNK)
    if not data:
        selector.unregister(stream)
    elif stream == child.status:
        child.said += data
    else:
        child.streams[stream].add(data)


def _finish(child: _Watched) -> None:
    """Leave nothing behind, however the waiting ended."""
    if child.control >= 0:
        os.close(child.control)
    try:
        child.process.wait(5.0)  # it may still be in its grace time
    except subprocess.TimeoutExpired:
        child.process.kill()
        child.process.wait()
    if child.process.returncode < 0 and (pid := _pid_said(child)):
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(pid, signal.SIGKILL)
    os.close(child.status)
    for pipe in (child.process.stdin, *child.streams):
        if pipe:
            with suppress(BrokenPipeError):
                pipe.close()


def _pid_said(child: _Watched) -> int | None:
    for line in bytes(child.said).splitlines():
        with suppress(ValueError):
            if pid := json.loads(line).get("pid"):
                return int(pid)
    return None
