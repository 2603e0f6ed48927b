"""A hot standby, and a cold start on a large run half done: how soon the first node goes out."""

from __future__ import annotations

import time
from pathlib import Path

import psutil
import pytest
from sqlalchemy import func, select

from engine.scheduling.records import (
    AttemptEnded,
    AttemptKind,
    Dispatched,
    NodeFinished,
    NodeState,
    Record,
    RunChanged,
    RunState,
    StepExpanded,
)
from engine.store.journal import SqlJournal
from engine.store.tables import Shard, table
from engine.store.writing import ATTEMPT
from engine.wire import Outcome
from tests.integration.scale.conftest import Make
from tests.integration.scale.installation import Installation, Process

SHARD = table(Shard)
STANDBY_S, COLD_S = 2.0, 5.0


def _leader_pid(installation: Installation) -> int:
    with installation.client.store.database.reading("read the shard's owner") as connection:
        owner = connection.scalar(select(SHARD.c.owner).where(SHARD.c.shard == 0, SHARD.c.lease_until > 0))
    return int(owner.rpartition(":")[2]) if owner else 0


def _first_dispatch(installation: Installation, after: float) -> float | None:
    with installation.client.store.database.reading("read the first dispatch") as connection:
        first = select(func.min(ATTEMPT.c.dispatched_at)).where(ATTEMPT.c.dispatched_at > after)
        found = connection.scalar(first)
    return None if found is None else float(found)


def _ended(installation: Installation, run_id: str) -> int:
    [step] = installation.client.store.progress(run_id).steps
    return step.succeeded


def _stands_by(process: Process) -> bool:
    return "shard.stands_by" in process.said()


def _kill_leaders(make: Make, database: dict[str, str], times: int, capsys: pytest.CaptureFixture[str]) -> None:
    installation = make(**database, window_s=0.5)  # so that something is left to dispatch after the kill
    schedulers = [installation.scheduler(), installation.scheduler()]
    installation.worker(slots=4)
    installation.ready()
    step = {"task": "scale.pause", "for_each": list(range(600)), "with": {"sleep_s": 0.01}}
    taken_s = []
    for number in range(times):
        leader = next(each for each in schedulers if each.pid == _leader_pid(installation))
        [standby] = [each for each in schedulers if each is not leader]
        installation.wait(lambda standby=standby: _stands_by(standby))
        run_id = installation.submit({"many": step})
        installation.wait(lambda run_id=run_id: _ended(installation, run_id) >= 100)
        killed = time.time()
        leader.kill()
        taken_s.append(installation.wait(lambda killed=killed: _first_dispatch(installation, killed)) - killed)
        assert _leader_pid(installation) == standby.pid
        schedulers = [standby, *([installation.scheduler()] if number + 1 < times else [])]
        view = installation.client.wait(run_id, 60)
        assert view.state is RunState.SUCCEEDED, view.reason
        assert installation.client.audit(run_id) == []
    with capsys.disabled():
        print(f"\n  a standby's first dispatch after the leader's SIGKILL: {', '.join(f'{s:.2f} s' for s in taken_s)}")
    assert max(taken_s) < STANDBY_S


def test_a_standby_dispatches_within_two_seconds_of_the_leaders_death(
    make: Make, capsys: pytest.CaptureFixture[str]
) -> None:
    _kill_leaders(make, {}, 2, capsys)


@pytest.mark.soak
@pytest.mark.timeout(240)
def test_a_standby_takes_over_again_and_again(
    make: Make, database: dict[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    _kill_leaders(make, database, 6, capsys)


def _half_done(installation: Installation, count: int, done: int) -> str:
    """A run of ``count`` nodes of which ``done`` are journaled as done, as a scheduler would have left it."""
    items = [f"ticket {item:06d}: the printer on the third floor is out of paper again" for item in range(count)]
    step = {"task": "scale.nothing", "for_each": "{{ inputs.items }}", "with": {"value": "{{ item }}"}}
    last = {"task": "scale.nothing", "with": {"value": "{{ steps.many.output }}"}}
    run_id = installation.submit({"many": step, "last": last}, items=items)
    journal = SqlJournal(installation.settings.database_url)
    epoch = journal.acquire(0, "builder:0", 60.0)
    assert epoch is not None
    now = time.time()
    journal.commit(0, epoch, [RunChanged(run_id, RunState.RUNNING, "taken up", now)])
    journal.commit(0, epoch, [StepExpanded(run_id, 0, count, now)])
    for start in range(0, done, 1000):
        records: list[Record] = []
        for item in range(start, start + 1000):
            result = f'{{"v":"{items[item]}"}}'
            records += [
                Dispatched(run_id, 0, item, 1, AttemptKind.PRIMARY, "io", now),
                AttemptEnded(run_id, 0, item, 1, Outcome.OK, now, worker="w", begun_at=now, ended_at=now),
                NodeFinished(run_id, 0, item, NodeState.SUCCEEDED, 1, now, result),
            ]
        journal.commit(0, epoch, records)
    journal.release(0, epoch)
    journal.close()
    return run_id


def _peak_rss_mb(pid: int) -> float:
    status = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
    return int(status["VmHWM"].split()[0]) / 1024


@pytest.mark.timeout(200)
def test_a_cold_start_on_a_half_done_run_dispatches_within_five_seconds(
    make: Make, database: dict[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    installation = make(**database)
    run_id = _half_done(installation, 40_000, 20_000)
    started = time.time()
    scheduler = installation.scheduler()
    first_s = installation.wait(lambda: _first_dispatch(installation, started)) - started
    # It looked around once more after the dispatch: no worker serves, so nothing else will happen.
    installation.wait(lambda: installation.hot.queue_lengths(["io"])["io"] > 0)
    rss_mb = _peak_rss_mb(scheduler.pid)
    assert psutil.pid_exists(scheduler.pid)
    with capsys.disabled():
        print(f"\n  cold start, 20,000 of 40,000 done: first dispatch after {first_s:.2f} s, {rss_mb:.0f} MB at most")
    assert first_s < COLD_S
    assert installation.client.audit(run_id) == []
