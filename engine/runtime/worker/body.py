"""Calling a body: sync or async, under its time limit, so that nothing it does ends the worker.

In a process's main thread (prefork) an alarm interrupts a body at its limit, or when somebody else
wants it to end. On another thread nothing can: the body gets a thread of its own, which is abandoned,
and the process has to be recycled. Each body of a chunk and each try has its own limit.
"""

from __future__ import annotations

import asyncio
import contextvars
import functools
import inspect
import queue
import signal
import threading
from collections.abc import Callable
from typing import Any, NoReturn

from engine.errors import Cancelled

_STOP_POLL_S = 0.05
_ASYNC_GRACE_S = 1.0  # a coroutine gets this long to end after it was cancelled


class Interrupted(BaseException):
    """The body was not let finish. No ``Exception``: a body's own ``except Exception`` must not eat it.

    ``abandoned`` says that it still runs, on a thread that nothing can stop.
    """

    abandoned = False


class TimedOut(Interrupted):
    """It ran past its limit."""


class Stopped(Interrupted):
    """It was told to stop and did not heed it."""


class Interruption:
    """How another thread ends a body, once, while it runs."""

    def __init__(self) -> None:
        self.error: Stopped | None = None
        self.act: Callable[[], object] | None = None

    def stop(self, why: str) -> None:
        """End the body that runs; nothing if none does."""
        self.error, act = Stopped(why), self.act
        if act is not None:
            act()


def call(
    function: Callable[..., Any],
    arguments: dict[str, Any],
    timeout_s: float | None,
    stop_requested: Callable[[], bool],
    interruption: Interruption,
) -> Any:
    """Whatever ``function`` returns.

    Parameters
    ----------
    timeout_s
        Seconds it may run; ``None`` means no limit.
    stop_requested
        Asked a few times a second while a coroutine runs, to cancel it.
    interruption
        With which another thread may end it.

    Raises
    ------
    TimedOut
        It ran too long.
    Stopped
        It was ended through ``interruption``.
    Cancelled
        It is a coroutine that was told to stop and did.
    """
    limit_s = timeout_s
    if inspect.iscoroutinefunction(function):
        function = functools.partial(_run_coroutine, function, timeout_s, stop_requested)
        limit_s = None if timeout_s is None else timeout_s + _ASYNC_GRACE_S
    if threading.current_thread() is threading.main_thread():
        return _under_alarm(function, arguments, limit_s, interruption)
    return _on_own_thread(function, arguments, limit_s, interruption)


def _under_alarm(
    function: Callable[..., Any], arguments: dict[str, Any], limit_s: float | None, interruption: Interruption
) -> Any:
    def interrupt(*_: Any) -> NoReturn:
        signal.setitimer(signal.ITIMER_REAL, 0)  # one of the two reasons is enough
        raise interruption.error or TimedOut(f"ran longer than {limit_s} s")

    before = signal.signal(signal.SIGALRM, interrupt)
    interruption.act = functools.partial(signal.pthread_kill, threading.get_ident(), signal.SIGALRM)
    try:
        signal.setitimer(signal.ITIMER_REAL, limit_s or 0)
        return function(**arguments)
    finally:
        interruption.act = None
        signal.setitimer(signal.ITIMER_REAL, 0)
        # Never back to the default, which ends the process: the other thread's signal may come just now.
        signal.signal(signal.SIGALRM, before if callable(before) else _too_late)


def _too_late(*_: Any) -> None:
    """The body that a signal was for has ended."""


def _on_own_thread(
    function: Callable[..., Any], arguments: dict[str, Any], limit_s: float | None, interruption: Interruption
) -> Any:
    ended: list[tuple[Any, BaseException | None]] = []
    context = contextvars.copy_context()

    def run() -> None:
        try:
            ended.append((context.run(function, **arguments), None))
        except BaseException as error:  # noqa: BLE001 - raised again where the body was called
            ended.append((None, error))

    over = threading.Event()
    interruption.act = over.set
    try:
        runner = _parked.pop()
    except IndexError:
        runner = _Runner()
    runner.take(run, over)
    over.wait(limit_s)
    if not ended:
        left = interruption.error or TimedOut(f"ran longer than {limit_s} s and cannot be interrupted on a thread")
        left.abandoned = True
        raise left
    result, error = ended[0]
    if error is not None:
        raise error
    return result


class _Runner:
    """A thread for bodies, one after the other: starting one for each costs a fifth of a short node."""

    def __init__(self) -> None:
        self._work: queue.SimpleQueue[tuple[Callable[[], None], threading.Event]] = queue.SimpleQueue()
        # A daemon: an abandoned body must not hold up the exit.
        threading.Thread(target=self._run, name="body", daemon=True).start()

    def take(self, work: Callable[[], None], over: threading.Event) -> None:
        """Do ``work`` and set ``over``."""
        self._work.put((work, over))

    def _run(self) -> None:
        while True:
            work, over = self._work.get()
            work()
            _parked.append(self)  # before anybody knows, so that the next body finds it
            over.set()


_parked: list[_Runner] = []


def _run_coroutine(
    function: Callable[..., Any], timeout_s: float | None, stop_requested: Callable[[], bool], **arguments: Any
) -> Any:
    async def supervise() -> Any:
        body = asyncio.ensure_future(function(**arguments))
        watcher = asyncio.ensure_future(_cancel_on_stop(body, stop_requested))
        try:
            async with asyncio.timeout(timeout_s) as limit:
                return await body
        except TimeoutError:
            if limit.expired():
                raise TimedOut(f"ran longer than {timeout_s:g} s") from None
            raise
        except asyncio.CancelledError:
            raise Cancelled("told to stop") from None
        finally:
            watcher.cancel()

    return asyncio.run(supervise())


async def _cancel_on_stop(body: asyncio.Future[Any], stop_requested: Callable[[], bool]) -> None:
    while True:
        await asyncio.sleep(_STOP_POLL_S)
        if await asyncio.to_thread(stop_requested):
            body.cancel()
            return
