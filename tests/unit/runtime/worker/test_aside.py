"""What a worker's child does beside its bodies."""

from __future__ import annotations

import queue

from engine.runtime.worker.aside import Aside


def test_a_chore_is_done_again_when_it_says_until_it_says_never() -> None:
    done: queue.SimpleQueue[int] = queue.SimpleQueue()
    waits = [0.001, 0.001, None]

    def chore() -> float | None:
        done.put(len(waits))
        return waits.pop(0)

    aside = Aside()
    aside.put(chore)
    assert [done.get(timeout=30) for _ in range(3)] == [3, 2, 1]


def test_a_chore_between_does_not_put_off_the_one_that_comes_again() -> None:
    done: queue.SimpleQueue[str] = queue.SimpleQueue()
    waits = [0.2, None]

    def again() -> float | None:
        done.put("again")
        return waits.pop(0)

    def once() -> None:
        done.put("once")

    aside = Aside()
    aside.put(again)
    aside.put(once)
    assert [done.get(timeout=30) for _ in range(3)] == ["again", "once", "again"]


def test_a_chore_that_breaks_does_not_end_the_thread() -> None:
    done: queue.SimpleQueue[str] = queue.SimpleQueue()

    def broken() -> None:
        raise ValueError("broken")

    aside = Aside()
    aside.put(broken)
    aside.put(lambda: done.put("on"))
    assert done.get(timeout=30) == "on"
