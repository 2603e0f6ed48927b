"""Which step has the longest way to the end, as far as durations are known."""

from __future__ import annotations

from dataclasses import replace

from engine.scheduling.odds import NoOdds
from engine.scheduling.ranks import ranks
from tests.unit.scheduling.worlds import plan_of, step


def test_a_step_ranks_by_the_longest_way_from_it_to_an_end() -> None:
    plan = plan_of(step(0), step(1, 0), step(2, 0), step(3, 1, 2))
    seconds = {"s0": 1.0, "s1": 5.0, "s2": 0.5, "s3": 2.0}
    assert ranks(plan, lambda _plan, path, _task: seconds[path]) == [8.0, 7.0, 2.5, 2.0]


def test_a_step_of_unknown_duration_counts_as_the_mean_of_the_others() -> None:
    plan = plan_of(step(0), step(1, 0), step(2, 1))
    seconds = {"s0": 0.1, "s2": 0.3}
    assert [round(rank, 6) for rank in ranks(plan, lambda _plan, path, _task: seconds.get(path))] == [0.6, 0.5, 0.3]


def test_with_nothing_known_the_longest_chain_goes_first() -> None:
    plan = plan_of(step(0), step(1, 0), step(2))
    assert ranks(plan, NoOdds().typical_s) == [2.0, 1.0, 1.0]


def test_durations_are_asked_for_by_plan_path_and_task_type() -> None:
    asked = []
    ranks(plan_of(replace(step(0), task="files.read")), lambda *kind: asked.append(kind))
    assert asked == [("p", "s0", "files.read")]
