"""Workers and schedulers that are killed, stopped or frozen while a run works."""

from __future__ import annotations

import os
import random
import signal
import threading

import pytest

from tests.chaos.bodies import LEDGER
from tests.chaos.runs import Disturbed, Ledger, Mixed, duplicates, flywheel
from tests.services.postgres import Postgres
from tests.services.stack import Stack, until


def test_an_undisturbed_run_repeats_nothing(stack: Stack, ledger: Ledger) -> None:
    case = Disturbed(stack, ledger, "undisturbed", twice=0).submit()
    case.check()
    audited = flywheel(stack, "doctor", "--audit", case.run)
    assert audited.returncode == 0, audited.stderr + audited.stdout


def test_a_killed_cpu_worker_loses_only_what_it_ran(stack: Stack, ledger: Ledger) -> None:
    case = Disturbed(stack, ledger, "SIGKILL of the cpu worker", twice=2).submit().when_begun(8)
    stack.cpu.kill()
    stack.cpu.start()
    case.check()


def test_a_killed_io_worker_loses_only_what_it_ran(stack: Stack, ledger: Ledger) -> None:
    case = Disturbed(stack, ledger, "SIGKILL of the io worker", twice=4, unknown=4).submit().when_begun(12)
    stack.io.kill()
    stack.io.start()
    case.check()


def test_a_killed_child_loses_only_what_it_ran(stack: Stack, ledger: Ledger) -> None:
    case = Disturbed(stack, ledger, "SIGKILL of a worker's child", twice=1).submit().when_begun(8)
    os.kill(stack.cpu.children()[0], signal.SIGKILL)
    case.check()


def test_a_killed_scheduler_repeats_nothing(stack: Stack, ledger: Ledger) -> None:
    case = Disturbed(stack, ledger, "SIGKILL of the scheduler", twice=0).submit().when_begun(8)
    stack.scheduler.kill()
    stack.scheduler.start()
    case.check()


@pytest.mark.soak
def test_a_scheduler_killed_again_and_again_repeats_nothing(stack: Stack, ledger: Ledger) -> None:
    seed = random.randrange(2**32)
    chance = random.Random(seed)
    case = Disturbed(stack, ledger, f"SIGKILL of the scheduler again and again, seed {seed}", twice=0)
    case.submit().when_begun(4)
    pause = threading.Event()
    for _ in range(4):
        stack.scheduler.kill()
        stack.scheduler.start()
        pause.wait(chance.uniform(0.5, 1.5) + 1.0)  # the fault's own timing, after about a second of imports
        case.before |= case.recorded()
    case.check()


@pytest.mark.parametrize(
    "point",
    [
        pytest.param("before_commit:6", marks=pytest.mark.soak),
        "after_commit:6",
        pytest.param("after_publish:4", marks=pytest.mark.soak),
    ],
)
def test_a_scheduler_that_dies_around_a_commit_repeats_nothing(stack: Stack, ledger: Ledger, point: str) -> None:
    stack.scheduler.close()
    stack.scheduler.start(FLYWHEEL_FAULT=point)
    case = Disturbed(stack, ledger, f"scheduler dies at {point}", twice=0).submit()
    assert stack.scheduler.wait() == 86
    case.before |= case.recorded()
    stack.scheduler.start()
    case.check()


@pytest.mark.parametrize(
    "point",
    [
        pytest.param("begun:6", marks=pytest.mark.soak),
        "before_report:6",
        pytest.param("after_report:6", marks=pytest.mark.soak),
    ],
)
def test_a_worker_that_dies_around_a_report_loses_only_what_it_ran(stack: Stack, ledger: Ledger, point: str) -> None:
    stack.io.close()
    stack.io.start(FLYWHEEL_FAULT=point)
    case = Disturbed(stack, ledger, f"io worker dies at {point}", twice=4, unknown=4).submit()
    assert stack.io.wait() == 86
    case.before |= case.recorded()
    stack.io.start()
    case.check()


def test_sigterm_lets_bodies_finish(stack: Stack, ledger: Ledger) -> None:
    case = Disturbed(stack, ledger, "SIGTERM of both workers", twice=0).submit().when_begun(12)
    for worker in stack.workers:
        worker.send(signal.SIGTERM)
    assert [worker.wait() for worker in stack.workers] == [0, 0]
    for worker in stack.workers:
        worker.start()
    case.check()


def test_a_frozen_worker_that_wakes_up_late_changes_nothing(stack: Stack, ledger: Ledger) -> None:
    slow = Mixed(width=12, work_s=0.3)  # some body is always under way
    case = Disturbed(stack, ledger, "SIGSTOP of the cpu worker past its lease", twice=2, mixed=slow)
    case.submit().when_begun(8)
    stack.cpu.freeze()
    begun, ended = ({line.node for line in ledger.lines(case.run, event)} for event in ("begin", "end"))
    frozen_attempts = [node for node in begun - ended if node.startswith(("pure", "again"))]
    assert frozen_attempts
    try:
        until(lambda: _lost(stack, case.run), 15, "attempts of the frozen worker are taken as lost")
    finally:
        stack.cpu.thaw()
    case.check()
    until(lambda: duplicates(stack, case.run), 10, "the late reports are kept as duplicates")


def _lost(stack: Stack, run: str) -> bool:
    store = stack.client.store
    return any(
        attempt.outcome == "lost"
        for step in store.steps(run)
        if step.queue == "cpu" and step.count
        for item in range(step.count)
        for attempt in store.attempts(run, step.step_no, item)
    )


def test_a_standby_on_postgres_takes_over_and_repeats_nothing(postgres: Postgres, ledger: Ledger) -> None:
    with Stack(schedulers=2, database_url=postgres.new_database(), environment={LEDGER: str(ledger.path)}) as stack:
        case = Disturbed(stack, ledger, "SIGKILL of the leader, standby on Postgres", twice=0).submit().when_begun(8)
        leader = until(lambda: next((each for each in stack.schedulers if "shard.led" in each.said()), None), 5, "led")
        leader.kill()
        case.check()
