"""Workers and schedulers that are killed while copies of stragglers are out."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from engine.learning.knowledge import Knowledge
from engine.scheduling.records import AttemptKind, RunState
from engine.store.learned import keep
from engine.store.views import AttemptView
from engine.wire import Outcome
from tests.chaos.bodies import LEDGER
from tests.chaos.runs import FIGURES, WITHIN_S, Ledger, duplicates, steps_plan
from tests.services.stack import Stack, until

WIDTH, SLOW = 12, (0, 5, 10)
NAME = "chaos-copies"


@pytest.fixture(scope="module")
def _hedging_stack(ledger: Ledger) -> Iterator[Stack]:
    with Stack(environment={LEDGER: str(ledger.path)}, io_workers=2, hedge=True, hedge_share=0.5) as stack:
        known = Knowledge()
        known.observe_bodies(NAME, "all", "chaos.lagging", [0.3] * 400, time.time())
        rows, _ = known.unstored(100)
        with stack.client.store.database.writing("durations") as connection:
            assert keep(connection, 0, 0, rows, ())
        stack.scheduler.close()  # what is learned is read at the start
        yield stack


@pytest.fixture
def stack(_hedging_stack: Stack) -> Stack:
    """Two workers for waiting bodies, and a scheduler that knows what these usually take."""
    _hedging_stack.heal()
    return _hedging_stack


@pytest.mark.parametrize("dies", ["worker", "scheduler"])
def test_whatever_dies_while_copies_are_out_nothing_counts_twice_and_nothing_is_lost(
    stack: Stack, ledger: Ledger, tmp_path: Path, dies: str
) -> None:
    flag = tmp_path / "go"
    with_ = {"value": "{{ item }}", "slow": list(SLOW), "flag": str(flag)}
    step = {"task": "chaos.lagging", "for_each": list(range(WIDTH)), "with": with_}
    run = stack.client.submit(steps_plan(NAME, {"all": step}, {"all": "{{ steps.all.output }}"}))
    out = until(lambda: _copies_that_run(stack, ledger, run), 20.0, "a copy of each straggler")
    victim = stack.scheduler
    if dies == "worker":  # the one that holds a copy: its stragglers and other copies die with it
        (victim,) = [each for each in (stack.io, *stack.more) if each.pid == out[SLOW[0]]]
    victim.kill()
    flag.touch()
    victim.start()
    view = stack.ended(run, WITHIN_S)
    assert view.state is RunState.SUCCEEDED
    assert stack.client.outputs(run) == {"all": [value * 7 for value in range(WIDTH)]}
    assert stack.client.audit(run) == []
    made = _attempts(stack, run)
    assert [sum(each.outcome is Outcome.OK for each in made if each.item == item) for item in range(WIDTH)] == (
        [1] * WIDTH
    ), "one attempt of each node counts"
    assert sum(each.kind == AttemptKind.HEDGE for each in made) >= len(SLOW)
    lost = [each for each in made if each.outcome is Outcome.LOST]
    again = Counter((line.node, line.attempt) for line in ledger.lines(run, "begin"))
    assert set(again.values()) == {1}, "whatever ran again is an attempt of its own"
    FIGURES.append(
        f"SIGKILL of the {dies} while copies are out: {len(out)} copies, {len(lost)} attempts lost, "
        f"{len(again) - WIDTH} bodies executed again, {duplicates(stack, run)} late results"
    )
    print(FIGURES[-1])


def _copies_that_run(stack: Stack, ledger: Ledger, run: str) -> dict[int, int]:
    """The process that runs each straggler's copy; empty unless all do, and all other nodes have ended."""
    copies = {each.item: each.attempt for each in _attempts(stack, run) if each.kind == AttemptKind.HEDGE}
    pids = {(line.node, line.attempt): line.pid for line in ledger.lines(run, "begin")}
    found = {item: pids.get((f"all[{item}]", attempt)) for item, attempt in copies.items()}
    running = {item: pid for item, pid in found.items() if pid is not None and item in SLOW}
    rest = len({line.node for line in ledger.lines(run, "end")})
    return running if len(running) == len(SLOW) and rest == WIDTH - len(SLOW) else {}


def _attempts(stack: Stack, run: str) -> list[AttemptView]:
    store = stack.client.store
    return [
        each for step in store.steps(run) for item in range(WIDTH) for each in store.attempts(run, step.step_no, item)
    ]
