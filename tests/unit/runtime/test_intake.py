"""In which order reports are given to the scheduler's turns, and how long a turn is put off for them."""

from __future__ import annotations

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import pytest

from engine.errors import Unavailable
from engine.runtime.intake import Intake
from engine.runtime.tempo import SOON_S
from engine.runtime.world import Pace
from engine.wire import NodeReport, Outcome, Report, ReportKind

LIGHT = "light"


class Stream:
    """A stream of reports, and a clock that goes on while one waits for them."""

    def __init__(self) -> None:
        self.entries: list[tuple[str, Report | None]] = []
        self.later: list[tuple[float, Report]] = []
        self.deleted: list[str] = []
        self.now = 0.0
        self.away = False

    def add(self, report: Report) -> None:
        self.entries.append((str(len(self.entries) + 1), report))

    def monotonic(self) -> float:
        return self.now

    def read_reports(self, shard: int, after: str, count: int, block_s: float) -> Sequence[tuple[str, Report | None]]:
        if self.away:
            raise Unavailable("it went away")
        found = [entry for entry in self.entries if int(entry[0]) > int(after)][:count]
        if not found and block_s and self.later and self.later[0][0] <= self.now + block_s:
            self.now, report = self.later.pop(0)
            self.add(report)
            return self.entries[-1:]
        if not found:
            self.now += block_s
        return found

    def delete_reports(self, shard: int, entries: Sequence[str]) -> None:
        self.deleted += entries


def told(run_id: str, nodes: int = 1) -> Report:
    ends = tuple(NodeReport(item, 1, Outcome.OK) for item in range(nodes))
    return Report(ReportKind.DONE, "token", run_id, 0, "w", ends)


def intake_of(stream: Stream) -> Intake:
    world: Any = SimpleNamespace(hot=stream, clock=stream, sleep=lambda seconds: None)
    return Intake(0, world, Pace(), lambda run_id: run_id == LIGHT)


def read(intake: Intake, nodes: int | None = 1000, block_s: float = 0.0) -> list[str]:
    return [report.run_id for report in intake.read(block_s, 1000, 0, nodes)]


def test_what_is_said_of_a_light_run_has_a_turn_before_what_is_said_of_a_big_one() -> None:
    stream = Stream()
    intake = intake_of(stream)
    for report in (told("big", 100), told(LIGHT), Report(ReportKind.WAKE, run_id="new"), told("big", 100)):
        stream.add(report)
    assert read(intake) == [LIGHT, "new"]
    assert intake.light and intake.holds and not intake.caught_up
    intake.acknowledge()
    assert stream.deleted == ["2", "3"], "what was not taken in yet is not acknowledged"
    stream.add(told(LIGHT))
    assert read(intake) == [LIGHT, "big", "big"], "and is held back once"
    assert not intake.light and not intake.holds


def test_a_turn_takes_in_no_more_than_it_may_and_the_rest_comes_next() -> None:
    stream = Stream()
    intake = intake_of(stream)
    stream.add(told("big", 100))
    stream.later = [(0.001, told("big", 100)), (0.002, told("big", 100))]
    intake.patience.sent(0.001)
    assert read(intake, nodes=150) == ["big", "big"]
    assert intake.holds and not intake.light
    stream.add(told(LIGHT))
    assert read(intake, nodes=150) == [LIGHT, "big"]


def test_what_was_read_is_not_lost_with_redis() -> None:
    stream = Stream()
    intake = intake_of(stream)
    for report in (told("big", 100), told(LIGHT)):
        stream.add(report)
    assert read(intake) == [LIGHT]
    stream.away = True
    assert read(intake) == ["big"]
    with pytest.raises(Unavailable):
        read(intake)


def test_few_reports_of_others_are_worth_no_turn_of_their_own() -> None:
    stream = Stream()
    intake = intake_of(stream)
    for report in (told("big", 5), told(LIGHT)):
        stream.add(report)
    assert read(intake) == [LIGHT, "big"] and not intake.light


def test_a_read_that_is_to_catch_up_holds_nothing_back() -> None:
    stream = Stream()
    intake = intake_of(stream)
    for report in (told("big", 100), told(LIGHT)):
        stream.add(report)
    assert read(intake) == [LIGHT]
    stream.add(told("big", 100))
    assert read(intake, nodes=None) == ["big", "big"]
    assert intake.caught_up


def test_a_turn_is_put_off_for_what_a_light_run_has_out() -> None:
    stream = Stream()
    intake = intake_of(stream)
    stream.add(told("big", 100))
    stream.later = [(0.002, told("big", 100)), (0.005, told(LIGHT))]
    intake.patience.sent(0.002)
    assert read(intake) == [LIGHT]
    assert stream.now == 0.005
    assert read(intake) == ["big", "big"]


def test_a_turn_is_not_put_off_for_long_nor_for_long_work_nor_for_none() -> None:
    stream = Stream()
    intake = intake_of(stream)
    for light_s, put_off_s in ((0.0, 0.0), (1.0, 0.0), (0.002, SOON_S)):
        stream.add(told("big", 100))
        before = stream.now
        intake.patience.sent(light_s)
        assert read(intake) == ["big"]
        assert stream.now - before == put_off_s
