"""The time left: a range from what has ended, a lower bound, or why there is none."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest

from engine.api.estimate import Estimate, estimate
from engine.scheduling.records import RunState, StepState
from engine.store.views import Pace, RunProgress, RunView, StepProgress

NOW = 1.7e9
RUN = RunView(
    id="r_1", tenant="t", session="s", plan_name="p", plan_version="v", shard=0, priority=0, state=RunState.RUNNING,
    reason="", partial=False, idempotency_key=None, created_at=NOW - 100, started_at=NOW - 100, finished_at=None,
    deadline_at=None, permits_gone_at=None,
)  # fmt: skip


def step(
    no: int, count: int | None, done: int = 0, running: int = 0, state: StepState = StepState.RUNNING
) -> StepProgress:
    return StepProgress(
        step_no=no, path=f"s{no}", state=state, count=count, succeeded=done, failed=0, skipped=0, cancelled=0,
        out=running, running=running, retrying=0,
    )  # fmt: skip


def pace(ended: int, age_s: float = 60.0, silent_s: float = 0.0) -> Pace:
    """All that ended did in the last minute."""
    return Pace(NOW - age_s, ((60.0, ended), (300.0, ended), (1800.0, ended)), NOW - silent_s if ended else None)


def of(*steps: StepProgress, state: RunState = RunState.RUNNING, **paces: Pace) -> Estimate:
    progress = RunProgress(replace(RUN, state=state), steps)
    return estimate(progress, {int(name[1:]): each for name, each in paces.items()}, NOW)


def test_a_steady_step_is_told_within_a_range_that_holds_the_truth() -> None:
    left = of(step(0, 7000, 1000, running=4), s0=pace(1000))
    assert left.low_s is not None
    assert left.high_s is not None
    assert left.low_s < 360 < left.high_s, "6000 nodes at 1000 a minute"
    assert left.high_s / left.low_s < 1.2
    assert (left.unknown_steps, left.why) == (0, "")


def test_the_range_is_wide_while_few_have_ended() -> None:
    few, many = of(step(0, 1000, 12), s0=pace(12)), of(step(0, 1000, 900), s0=pace(900))
    assert few.low_s and few.high_s and many.low_s and many.high_s
    assert few.high_s / few.low_s > 3 > 1.2 > many.high_s / many.low_s


@pytest.mark.parametrize("ended", [0, 1, 9])
def test_nothing_is_said_before_enough_has_ended(ended: int) -> None:
    left = of(step(0, 1000, ended), s0=pace(ended, age_s=5.0))
    assert left == Estimate(unknown_steps=1, why="too little has ended to tell")


def test_steps_that_are_not_expanded_make_it_a_lower_bound() -> None:
    left = of(step(0, 200, 100), step(1, None, state=StepState.WAITING), s0=pace(100))
    assert left.low_s is not None
    assert left.unknown_steps == 1
    over = of(step(0, 200, 100), step(1, None, state=StepState.SKIPPED), s0=pace(100))
    assert over.unknown_steps == 0, "a step that ended without nodes is no unknown"


def test_a_stalled_step_has_no_figure() -> None:
    assert of(step(0, 1000, 100), s0=pace(100, silent_s=50.0)).why == "nothing has ended for 50 s"
    assert of(step(0, 1000, 100), s0=Pace(NOW - 7200, ((60.0, 0), (300.0, 0), (1800.0, 0)), None)) == Estimate(
        unknown_steps=1, why="nothing has ended for 7200 s"
    )


def test_slow_nodes_side_by_side_are_no_stall() -> None:
    """Ten at a time of a minute each: half a minute without an end is how they are."""
    slow = Pace(NOW - 330.0, ((60.0, 10), (300.0, 50), (1800.0, 50)), NOW - 30.0)
    left = of(step(0, 100, 50, running=10), s0=slow)
    assert left.low_s is not None
    assert left.high_s is not None
    assert left.low_s < 270 < left.high_s, "five rounds, one of them half through"


def test_steps_side_by_side_take_as_long_as_the_slowest() -> None:
    one, both = of(step(0, 2000, 1000), s0=pace(1000)), of(
        step(0, 2000, 1000), step(1, 50_000, 1000), s0=pace(1000), s1=pace(1000)
    )  # fmt: skip
    alone = of(step(1, 50_000, 1000), s1=pace(1000))
    assert both == alone != one


@pytest.mark.parametrize(
    ("state", "why"),
    [
        (RunState.PENDING, "it has not begun"), (RunState.PAUSED, "it is paused"),
        (RunState.CANCELLING, "it is being ended"), (RunState.SUCCEEDED, "it has ended"),
    ],
)  # fmt: skip
def test_a_run_that_does_not_go_on_has_no_time_left(state: RunState, why: str) -> None:
    assert of(step(0, 200, 100), state=state, s0=pace(100)) == Estimate(why=why)


def test_the_truth_is_in_the_range_nine_times_of_ten() -> None:
    """Slots that take nodes of random length, asked at a random moment: how often the range holds the end."""
    chance, held, told = random.Random(7), 0, 0
    for _ in range(200):
        slots, count = chance.choice([1, 2, 8, 32]), chance.choice([100, 1000, 3000])
        free = [0.0] * slots
        ends, begins = [], []
        for _ in range(count):
            first = min(range(slots), key=free.__getitem__)
            begins.append(free[first])
            free[first] += chance.choice([chance.expovariate(1.0), 1.0, chance.uniform(0.5, 1.5)])
            ends.append(free[first])
        total = max(ends)
        now = chance.uniform(0.15, 0.9) * total
        seen = [at for at in ends if at <= now]
        running = sum(begun <= now < end for begun, end in zip(begins, ends, strict=True))
        windows = tuple((width, sum(at > now - width for at in seen)) for width in (60.0, 300.0, 1800.0))
        found = estimate(
            RunProgress(RUN, [step(0, count, len(seen), running)]),
            {0: Pace(0.0, windows, max(seen, default=None))}, now,
        )  # fmt: skip
        if found.low_s is not None and found.high_s is not None:
            told += 1
            held += found.low_s <= total - now <= found.high_s
    assert told > 150
    assert held >= 0.9 * told, f"{held} of {told}"
