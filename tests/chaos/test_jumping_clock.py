"""A wall clock that jumps an hour forward or back, in every process, while a run works."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from engine.scheduling.records import RunState
from tests.chaos.bodies import LEDGER
from tests.chaos.jumping import OFFSET
from tests.chaos.runs import Disturbed, Ledger, steps_plan
from tests.services.stack import Stack, until


@pytest.fixture(scope="module")
def offset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The file that says by how many seconds the processes' clock is off."""
    path: Path = tmp_path_factory.mktemp("clock") / "offset"
    path.write_text("0")
    return path


@pytest.fixture(scope="module")
def _jumping_stack(ledger: Ledger, offset: Path) -> Iterator[Stack]:
    with Stack(
        environment={LEDGER: str(ledger.path), OFFSET: str(offset)}, entry="tests.chaos.jumping"
    ) as jumping_stack:
        yield jumping_stack


@pytest.mark.parametrize("jump_s", [3600, -3600])
def test_a_clock_that_jumps_delays_nothing(_jumping_stack: Stack, ledger: Ledger, offset: Path, jump_s: int) -> None:
    stack = _jumping_stack
    case = Disturbed(stack, ledger, f"clock jumps by {jump_s:+d} s", twice=0).submit().when_begun(8)
    offset.write_text(str(int(offset.read_text()) + jump_s))
    view = case.check(30)
    assert view.finished_at is not None


@pytest.mark.parametrize(
    ("jump_s", "restart"), [pytest.param(3600, False, marks=pytest.mark.soak), (-3600, False), (-3600, True)]
)
def test_a_clock_that_jumps_does_not_hold_a_retry_back(
    _jumping_stack: Stack, ledger: Ledger, offset: Path, jump_s: int, restart: bool
) -> None:
    stack = _jumping_stack
    step = {
        "task": "chaos.flaky", "for_each": list(range(6)), "with": {"value": "{{ item }}"},
        "retry": {"attempts": 2, "wait": "fixed", "delay": 3},
    }  # fmt: skip
    run = stack.client.submit(steps_plan("chaos-flaky", {"flaky": step}, {"flaky": "{{ steps.flaky.output }}"}))
    until(lambda: ledger.begun(run) >= 6, 20, "all have failed once")
    until(lambda: waiting(stack, run) == 6, 10, "all wait for another try")
    if restart:
        stack.scheduler.kill()
    offset.write_text(str(int(offset.read_text()) + jump_s))
    if restart:
        stack.scheduler.start()
    view = stack.ended(run, 15)
    assert (view.state, stack.client.outputs(run)) == (RunState.SUCCEEDED, {"flaky": list(range(6))})
    assert stack.client.audit(run) == []


def waiting(stack: Stack, run: str) -> int:
    """How many nodes wait for their next try."""
    return len(stack.client.store.nodes(run, 0, state="retrying"))


@pytest.mark.soak
def test_a_clock_that_jumps_back_while_the_scheduler_is_down(
    _jumping_stack: Stack, ledger: Ledger, offset: Path
) -> None:
    stack = _jumping_stack
    case = Disturbed(stack, ledger, "clock jumps back, scheduler restarted", twice=0).submit().when_begun(8)
    stack.scheduler.kill()
    offset.write_text(str(int(offset.read_text()) - 3600))
    stack.scheduler.start()
    case.check(30)
