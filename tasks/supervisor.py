"""Runs one program and answers for its whole process tree. A script of its own, standard library only.

Started as ``python -I -S supervisor.py CONTROL STATUS GRACE_S -- ARGV…``. It starts ARGV in a session
of its own and kills everything that grew from it when the program ends, when the worker closes
CONTROL, and when the worker dies, which closes CONTROL too. First TERM, after GRACE_S seconds KILL.

Why a process in between: a parent-death signal reaches one process, not its children; a process that
leaves its session escapes a signal to the group; and running Python between fork and exec in a
worker with threads can deadlock. As a *subreaper* this process inherits every orphan below it.

STATUS gets JSON lines: ``{"pid": n}`` once the program started, then one of ``{"exit": n}``,
``{"signal": n}`` and ``{"error": text}``. It must import nothing of the engine.

References
----------
prctl(2): PR_SET_CHILD_SUBREAPER, PR_SET_PDEATHSIG. proc(5): /proc/PID/stat.
"""

from __future__ import annotations

import ctypes
import json
import os
import select
import signal
import sys
import time
from contextlib import suppress

_PR_SET_PDEATHSIG, _PR_SET_CHILD_SUBREAPER = 1, 36
_POLL_S = 0.02


def _prctl(option: int, value: int) -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(option, value, 0, 0, 0)


def _report(status: int, **fact: object) -> None:
    with suppress(BrokenPipeError):  # the worker is gone; what is left to do is to clean up
        os.write(status, json.dumps(fact).encode() + b"\n")


def _start(argv: list[str], status: int) -> int:
    """The pid of ``argv``, started; 0 if it could not be, which is reported."""
    readable, writable = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.setsid()
            # Should this process be killed outright, the program at least goes with it.
            _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
            signal.signal(signal.SIGPIPE, signal.SIG_DFL)
            os.execvp(argv[0], argv)  # noqa: S606 - no shell, which is the point
        except OSError as error:
            os.write(writable, (error.strerror or str(error)).encode())
        os._exit(127)
    os.close(writable)
    failure = os.read(readable, 1000)  # empty once exec closed the other end
    os.close(readable)
    if failure:
        os.waitpid(pid, 0)
        _report(status, error=failure.decode("utf-8", "replace"))
        return 0
    _report(status, pid=pid)
    return pid


def _descendants() -> list[int]:
    """Every process below this one, by the parents that /proc names."""
    children: dict[int, list[int]] = {}
    for name in os.listdir("/proc") if sys.platform == "linux" else ():  # noqa: PTH208 - pathlib costs 10 ms
        if name.isdigit():
            try:
                with open(f"/proc/{name}/stat", "rb") as stream:  # noqa: PTH123 - as above
                    # The name in brackets may hold anything, brackets too: split after its end.
                    state, parent = stream.read().rpartition(b")")[2].split()[:2]
            except OSError:
                continue  # it ended meanwhile
            if state != b"Z":
                children.setdefault(int(parent), []).append(int(name))
    found, pending = [], [os.getpid()]
    while pending:
        below = children.get(pending.pop(), [])
        found += below
        pending += below
    return found


def _anybody(group: int) -> bool:
    """Whether the program's group or any descendant is still there."""
    try:
        os.killpg(group, 0)
    except (ProcessLookupError, PermissionError):
        return bool(_descendants())
    return True


def _signal_all(group: int, number: int) -> None:
    for send, target in [(os.killpg, group), *((os.kill, pid) for pid in _descendants())]:
        with suppress(ProcessLookupError, PermissionError):  # already gone, or became another user's
            send(target, number)


def _reap(pid: int) -> int | None:
    """Collect whoever ended; the wait status of ``pid`` if it was among them."""
    ended = None
    while True:
        try:
            child, state = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return ended
        if child == 0:
            return ended
        if child == pid:
            ended = state


def _clear(pid: int, grace_s: float) -> int | None:
    """End everything below; the wait status of ``pid`` if it ended here."""
    ended = _reap(pid)
    number, patience_s = signal.SIGTERM, grace_s
    while _anybody(pid):
        _signal_all(pid, number)
        end = time.monotonic() + patience_s
        while _anybody(pid) and time.monotonic() < end:
            time.sleep(_POLL_S)
            state = _reap(pid)
            ended = state if state is not None else ended
        number, patience_s = signal.SIGKILL, 0.5
    return ended


def main(control: int, status: int, grace_s: float, argv: list[str]) -> int:
    """Run ``argv`` and clear up after it; returns this process's own exit code."""
    os.set_inheritable(control, False)  # noqa: FBT003 - it takes no name
    os.set_inheritable(status, False)  # noqa: FBT003 - it takes no name
    _prctl(_PR_SET_CHILD_SUBREAPER, 1)
    woken, wake = os.pipe()
    os.set_blocking(wake, False)
    signal.set_wakeup_fd(wake, warn_on_full_buffer=False)
    for number in (signal.SIGCHLD, signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, lambda *_: None)  # the number itself arrives through the pipe
    pid = _start(argv, status)
    if not pid:
        return 1
    for stream in (0, 1, 2):  # only the program may hold the pipes, or their readers never see the end
        os.dup2(os.open(os.devnull, os.O_RDWR), stream)
    ended: int | None = None
    told: set[int] = set()
    while ended is None:
        ready, _, _ = select.select([control, woken], [], [])
        if woken in ready:
            told = set(os.read(woken, 4096)) - {signal.SIGCHLD}
            ended = _reap(pid)
        if control in ready or told:
            break
    cleared = _clear(pid, grace_s)
    ended = ended if ended is not None else cleared
    code = os.waitstatus_to_exitcode(ended) if ended is not None else -signal.SIGKILL
    _report(status, **({"exit": code} if code >= 0 else {"signal": -code}))
    return 0


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3]), sys.argv[5:]))
