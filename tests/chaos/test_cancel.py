"""Cancelling ten thousand nodes: once the cancel has returned, no body begins any more, whatever happens."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy import func, select

from engine.plan.model import Plan
from engine.scheduling.records import RunState
from engine.store.writing import COMMAND
from tests.chaos.runs import FIGURES, Ledger, flywheel, steps_plan
from tests.services.stack import Stack, until

NODES = 10_000


def wide() -> Plan:
    """Ten thousand nodes, over both workers and two kinds of effect."""
    half = list(range(NODES // 2))
    return steps_plan(
        "chaos-wide",
        {
            "left": {"task": "chaos.touch", "for_each": half},
            "right": {"task": "chaos.touch_cpu", "for_each": half},
        },
    )


def none_after(stack: Stack, ledger: Ledger, run: str, returned_at: float, label: str) -> None:
    """No body began after ``returned_at`` (monotonic), now or while everything settles."""
    view = stack.ended(run, 30)
    assert view.state is RunState.CANCELLED, view
    try:
        until(lambda: not sum(stack.hot.queue_lengths(stack.settings.queues).values()), 30, "stale messages dropped")
    except AssertionError:
        print(stack.hot.queue_lengths(stack.settings.queues))
        stack.show()
        raise
    begins = [line.mono - returned_at for line in ledger.lines(run, "begin")]
    late = [after for after in begins if after > 0]
    FIGURES.append(f"{label}: {len(begins)} of {NODES} bodies began, {len(late)} after the cancel had returned")
    assert not late, f"{label}: began {late} s after the cancel had returned"
    assert 0 < len(begins) < NODES
    assert max(ledger.executions(run).values()) <= 2
    assert stack.client.audit(run) == []


def test_no_body_begins_after_cancel_returns(stack: Stack, ledger: Ledger) -> None:
    run = stack.client.submit(wide())
    until(lambda: ledger.begun(run) >= 100, 20, "a hundred bodies begun")
    told = flywheel(stack, "runs", "cancel", run)
    returned_at = time.monotonic()
    assert told.returncode == 0, told.stderr
    none_after(stack, ledger, run, returned_at, "cancel")


@pytest.mark.parametrize("flush", [pytest.param(False, marks=pytest.mark.soak), True], ids=["kept", "flushed"])
def test_a_cancel_holds_though_every_process_dies(stack: Stack, ledger: Ledger, flush: bool) -> None:
    run = stack.client.submit(wide())
    until(lambda: ledger.begun(run) >= 100, 20, "a hundred bodies begun")
    stack.kill_everything()
    begun = ledger.begun(run)
    with ThreadPoolExecutor(1) as pool:
        answer = pool.submit(cancelled_at, stack, run)
        until(lambda: commands(stack, run), 10, "the command is stored")
        assert not answer.done()
        if flush:
            stack.redis.flush()
        # Workers first: messages and, unless flushed, permits are still there for the taking.
        for process in (*stack.workers, *stack.schedulers):
            process.start()
        returned_at = answer.result(60)
    none_after(stack, ledger, run, returned_at, f"cancel with everything dead{', Redis flushed' if flush else ''}")
    assert begun >= 100


@pytest.mark.parametrize("flush", [False, pytest.param(True, marks=pytest.mark.soak)], ids=["kept", "flushed"])
def test_a_cancel_holds_through_a_restart_after_it_returned(stack: Stack, ledger: Ledger, flush: bool) -> None:
    run = stack.client.submit(wide())
    until(lambda: ledger.begun(run) >= 100, 20, "a hundred bodies begun")
    returned_at = cancelled_at(stack, run)
    stack.kill_everything()
    if flush:
        stack.redis.flush()
    else:
        stack.redis.restart()
    for process in stack.processes:
        process.start()
    none_after(stack, ledger, run, returned_at, f"cancel, then everything dies{', Redis flushed' if flush else ''}")


@pytest.mark.soak
@pytest.mark.parametrize("repetition", range(5))
def test_a_cancel_holds_while_processes_die_all_the_time(stack: Stack, ledger: Ledger, repetition: int) -> None:
    run = stack.client.submit(wide())
    until(lambda: ledger.begun(run) >= 50, 30, "fifty bodies begun")
    done = threading.Event()

    def disturb() -> None:
        while not done.is_set():
            for process in stack.processes:
                process.kill()
                process.start()
            done.wait(4.0)

    with ThreadPoolExecutor(1) as pool:
        disturbed = pool.submit(disturb)
        try:
            returned_at = cancelled_at(stack, run)
        finally:
            done.set()
            disturbed.result()
    stack.ready()
    none_after(stack, ledger, run, returned_at, f"cancel while everything dies again and again, {repetition}")


def cancelled_at(stack: Stack, run: str) -> float:
    """Cancel a run; the monotonic time at which that returned."""
    stack.client.cancel(run, 60)
    return time.monotonic()


def commands(stack: Stack, run: str) -> bool:
    """Whether a command for the run is stored."""
    with stack.client.store.database.reading("look for commands") as connection:
        return bool(connection.scalar(select(func.count()).where(COMMAND.c.run_id == run)))
