"""Calling bodies in a main thread and on another."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

from engine.errors import Cancelled
from engine.runtime.worker import body
from engine.runtime.worker.body import Interruption, Stopped, TimedOut


def _never() -> bool:
    return False


def call(
    function: Callable[..., Any],
    arguments: dict[str, Any],
    timeout_s: float | None,
    stop_requested: Callable[[], bool],
    interruption: Interruption | None = None,
) -> Any:
    return body.call(function, arguments, timeout_s, stop_requested, interruption or Interruption())


def _on_a_thread(action: Callable[[], Any]) -> Any:
    result: list[Any] = []

    def run() -> None:
        try:
            result.append(action())
        except BaseException as error:
            result.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    return result[0]


def test_a_body_is_interrupted_in_the_main_thread_whatever_it_catches() -> None:
    def careless() -> None:
        try:
            time.sleep(5)
        except Exception:
            pytest.fail("the time-out is no Exception")

    with pytest.raises(TimedOut):
        call(careless, {}, 0.05, _never)
    assert call(lambda a: a + 1, {"a": 1}, 5.0, _never) == 2


def test_a_body_on_another_thread_is_abandoned() -> None:
    ended = threading.Event()
    error = _on_a_thread(lambda: call(lambda: ended.wait(5), {}, 0.05, _never))
    ended.set()
    assert isinstance(error, TimedOut) and error.abandoned
    assert isinstance(_on_a_thread(lambda: call(lambda: 1 / 0, {}, 5.0, _never)), ZeroDivisionError)


def test_a_coroutine_is_interrupted_and_cancelled() -> None:
    async def waiting(wait_s: float) -> str:
        await asyncio.sleep(wait_s)
        return "done"

    async def impatient() -> None:
        raise TimeoutError("its own")

    assert call(waiting, {"wait_s": 0}, None, _never) == "done"
    with pytest.raises(TimedOut):
        call(waiting, {"wait_s": 5}, 0.05, _never)
    with pytest.raises(Cancelled):
        call(waiting, {"wait_s": 5}, None, lambda: True)
    with pytest.raises(TimeoutError, match="its own"):
        call(impatient, {}, 5.0, _never)
    assert _on_a_thread(lambda: call(waiting, {"wait_s": 0}, 5.0, _never)) == "done"


def test_another_thread_ends_a_body_wherever_it_runs() -> None:
    for on, abandoned in ((lambda action: action(), False), (_on_a_thread, True)):
        interruption, began, ended = Interruption(), threading.Event(), threading.Event()

        def waits(began: threading.Event = began, ended: threading.Event = ended) -> None:
            began.set()
            ended.wait(5)

        def stop(began: threading.Event = began, interruption: Interruption = interruption) -> None:
            began.wait(5)
            interruption.stop("enough")

        threading.Thread(target=stop).start()
        try:
            error = on(lambda waits=waits, it=interruption: call(waits, {}, None, _never, it))  # type: ignore[misc]
        except Stopped as raised:
            error = raised
        ended.set()
        assert isinstance(error, Stopped) and error.abandoned is abandoned
    interruption.stop("too late")
    assert call(lambda: "next", {}, None, _never) == "next"
