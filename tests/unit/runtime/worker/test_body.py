"""Calling bodies in a main thread and on another."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

from engine.errors import Cancelled
from engine.runtime.worker.body import Abandoned, TimedOut, call


def _never() -> bool:
    return False


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
    assert isinstance(error, Abandoned)
    assert isinstance(_on_a_thread(lambda: call(lambda: 1 / 0, {}, 5.0, _never)), ZeroDivisionError)


def test_a_coroutine_is_interrupted_and_cancelled() -> None:
    async def body(wait_s: float) -> str:
        await asyncio.sleep(wait_s)
        return "done"

    async def impatient() -> None:
        raise TimeoutError("its own")

    assert call(body, {"wait_s": 0}, None, _never) == "done"
    with pytest.raises(TimedOut):
        call(body, {"wait_s": 5}, 0.05, _never)
    with pytest.raises(Cancelled):
        call(body, {"wait_s": 5}, None, lambda: True)
    with pytest.raises(TimeoutError, match="its own"):
        call(impatient, {}, 5.0, _never)
    assert _on_a_thread(lambda: call(body, {"wait_s": 0}, 5.0, _never)) == "done"
