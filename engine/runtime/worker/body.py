"""Calling a body: sync or async, under its time limit, so that nothing it does ends the worker.

In a process's main thread (prefork) an alarm interrupts a body at its limit. On another thread
nothing can: the body gets a thread of its own, which is abandoned, and the process has to be
recycled. Each body of a chunk and each try has its own limit.
"""

from __future__ import annotations

import asyncio
import contextvars
import functools
import inspect
import signal
import threading
from collections.abc import Callable
from typing import Any, NoReturn

from engine.errors import Cancelled

BODY_THREAD = "body"

_STOP_POLL_S = 0.25
_ASYNC_GRACE_S = 1.0  # a coroutine gets this long to end after it was cancelled


class TimedOut(BaseException):
    """The body ran past its limit. No ``Exception``: a body's own ``except Exception`` must not eat it."""


class Abandoned(TimedOut):
    """The body ran past its limit and still runs, on a thread that nothing can stop."""


def call(
    function: Callable[..., Any], arguments: dict[str, Any], timeout_s: float | None, stop_requested: Callable[[], bool]
) -> Any:
    """Whatever ``function`` returns.

    Parameters
    ----------
    timeout_s
        Seconds it may run; ``None`` means no limit.
    stop_requested
        Asked a few times a second while a coroutine runs, to cancel it.

    Raises
    ------
    TimedOut
        It ran too long and was interrupted.
    Abandoned
        It ran too long and still runs.
    Cancelled
        It is a coroutine that was told to stop and did.
    """
    limit_s = timeout_s
    if inspect.iscoroutinefunction(function):
        function = functools.partial(_run_coroutine, function, timeout_s, stop_requested)
        limit_s = None if timeout_s is None else timeout_s + _ASYNC_GRACE_S
    if limit_s is None:
        return function(**arguments)
    if threading.current_thread() is threading.main_thread():
        return _under_alarm(function, arguments, limit_s)
    return _on_own_thread(function, arguments, limit_s)


def _under_alarm(function: Callable[..., Any], arguments: dict[str, Any], limit_s: float) -> Any:
    def interrupt(*_: Any) -> NoReturn:
        raise TimedOut(f"ran longer than {limit_s:g} s")

    before = signal.signal(signal.SIGALRM, interrupt)
    try:
        signal.setitimer(signal.ITIMER_REAL, limit_s)
        return function(**arguments)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def _on_own_thread(function: Callable[..., Any], arguments: dict[str, Any], limit_s: float) -> Any:
    ended: list[tuple[Any, BaseException | None]] = []
    context = contextvars.copy_context()

    def run() -> None:
        try:
            ended.append((context.run(function, **arguments), None))
        except BaseException as error:  # noqa: BLE001 - raised again where the body was called
            ended.append((None, error))

    thread = threading.Thread(target=run, name=BODY_THREAD, daemon=True)  # a daemon: it must not hold up the exit
    thread.start()
    thread.join(limit_s)
    if not ended:
        raise Abandoned(f"ran longer than {limit_s:g} s and cannot be interrupted on a thread")
    result, error = ended[0]
    if error is not None:
        raise error
    return result


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
