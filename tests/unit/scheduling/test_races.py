"""Two copies of one attempt: who wins, who is stopped, and who decides when both fail."""

from __future__ import annotations

from dataclasses import replace

import pytest

from engine.scheduling import extras
from engine.scheduling.events import Commanded, PermitsRevoked, Placement, Reported, StopAttempts, Verdict
from engine.scheduling.records import AttemptEnded, AttemptKind, Duplicate, NodeFinished, NodeState, RunState
from engine.wire import ErrorInfo, NodeReport, Outcome, Try, shadow
from tests.unit.scheduling.worlds import NOW, OneRun, plan_of, retried, step


class Race(OneRun):
    """A run of one step, with both copies of its node out."""

    def __init__(self, attempts: int = 1) -> None:
        super().__init__(plan_of(retried(0, attempts)))
        (self.own,) = self.send()
        turn = self.core._turn(self.now)
        self.copy = extras.launch(turn, self.core.runs["r"], 0, 0, AttemptKind.HEDGE, "io", 1.0)
        self._keep(turn.verdict)

    def ends(self, placement: Placement, outcome: Outcome) -> Verdict:
        error = None if outcome is Outcome.OK else ErrorInfo("Flaky", "no luck")
        result = '{"v":1}' if outcome is Outcome.OK else None
        report = NodeReport(placement.item, placement.attempt, outcome, result, error, begun_at=NOW, ended_at=NOW)
        verdict = self.core.decide([Reported("r", 0, report, "w")], self.now)
        self._keep(verdict)
        return verdict


def stopped(verdict: Verdict) -> list[int]:
    return [item for effect in verdict.effects if isinstance(effect, StopAttempts) for _, item in effect.nodes]


@pytest.mark.parametrize("own_wins", [True, False])
def test_the_first_result_wins_and_the_other_copy_is_stopped(own_wins: bool) -> None:
    race = Race()
    winner, loser = (race.own, race.copy) if own_wins else (race.copy, race.own)
    verdict = race.ends(winner, Outcome.OK)
    finished = [record for record in verdict.records if isinstance(record, NodeFinished)]
    assert [(node.item, node.state, node.attempt) for node in finished] == [(0, NodeState.SUCCEEDED, winner.attempt)]
    assert stopped(verdict) == [loser.item]
    assert race.state is RunState.SUCCEEDED


def test_what_the_slower_copy_says_afterwards_is_kept_as_a_duplicate() -> None:
    race = OneRun(plan_of(step(0), step(1, 0)))
    (own,) = race.send()
    turn = race.core._turn(race.now)
    copy = extras.launch(turn, race.core.runs["r"], 0, 0, AttemptKind.HEDGE, "io", 1.0)
    race._keep(turn.verdict)
    race.end(own)
    late = [record for record in race.end(copy) if isinstance(record, Duplicate)]
    assert [(record.item, record.attempt) for record in late] == [(0, copy.attempt)]


def test_a_copy_that_fails_leaves_the_node_to_its_own_attempt() -> None:
    race = Race()
    race.ends(race.copy, Outcome.FAILED)
    assert race.state is RunState.RUNNING
    race.ends(race.own, Outcome.OK)
    assert race.state is RunState.SUCCEEDED


def test_a_try_that_the_worker_repeated_ends_the_copy_as_a_failure_does() -> None:
    race = Race(attempts=2)
    tried = Try(ErrorInfo("Flaky", "no luck"), NOW, NOW)
    refused = NodeReport(0, race.own.attempt, Outcome.NOT_BEGUN, error=ErrorInfo("NotBegun", "away"), tries=(tried,))
    verdict = race.core.decide([Reported("r", 0, refused, "w")], race.now)
    race._keep(verdict)
    assert stopped(verdict) == [race.copy.item]
    race.now += 60
    race.tell()
    (again,) = race.send()
    race.ends(again, Outcome.OK)
    assert race.state is RunState.SUCCEEDED


@pytest.mark.parametrize(("outcome", "state"), [(Outcome.OK, RunState.SUCCEEDED), (Outcome.FAILED, RunState.FAILED)])
def test_the_last_copy_decides_when_the_nodes_own_attempt_was_lost(outcome: Outcome, state: RunState) -> None:
    race = Race()
    race.ends(race.own, Outcome.LOST)
    assert race.state is RunState.RUNNING
    race.ends(race.copy, outcome)
    assert race.state is state


def test_a_failure_of_the_nodes_own_body_counts_as_if_there_were_no_copy() -> None:
    race = Race(attempts=2)
    verdict = race.ends(race.own, Outcome.FAILED)
    assert stopped(verdict) == [race.copy.item]
    assert race.core.runs["r"].trouble[0, 0].tries == 1
    assert race.core.next_due() is not None


def test_a_node_whose_copies_both_came_to_nothing_is_tried_again_under_a_new_number() -> None:
    race = Race(attempts=3)
    race.ends(race.own, Outcome.LOST)
    race.ends(race.copy, Outcome.FAILED)
    race.now += 60
    race.tell()
    (again,) = race.send()
    assert again.attempt > race.copy.attempt > race.own.attempt
    assert again.item == 0


def test_numbers_leave_room_for_tries_that_a_worker_repeats() -> None:
    race = Race(attempts=3)
    assert race.copy.attempt >= race.own.attempt + 3


def test_another_scheduler_ends_the_copy_and_goes_on_with_the_nodes_own_attempt() -> None:
    race = Race()
    race.restart()
    ends = [row for row in race.journal.attempts["r", 0, 0].values() if row.outcome is not None]
    assert [row.attempt for row in ends] == [race.copy.attempt]
    late = race.end(race.copy)
    assert [type(record) for record in late] == [Duplicate]
    race.end(race.own)
    assert race.state is RunState.SUCCEEDED


def test_a_cancelled_run_waits_for_both_copies() -> None:
    race = Race()
    race.tell(Commanded(1, "r", "cancel"))
    race.tell(PermitsRevoked("r", frozenset({(0, 0), (0, shadow(0))})))
    assert race.state is RunState.CANCELLING
    race.ends(race.copy, Outcome.CANCELLED)
    assert race.state is RunState.CANCELLING
    race.ends(race.own, Outcome.CANCELLED)
    assert race.state is RunState.CANCELLED


def test_a_copy_that_never_began_ends_with_the_cancelled_run() -> None:
    race = Race()
    race.tell(Commanded(1, "r", "cancel"))
    verdict = race.tell(PermitsRevoked("r", frozenset()))
    assert len([record for record in verdict if isinstance(record, AttemptEnded)]) == 2
    assert len([record for record in verdict if isinstance(record, NodeFinished)]) == 1
    assert race.state is RunState.CANCELLED


def test_numbers_of_copies_are_per_node() -> None:
    run = OneRun(plan_of(replace(step(0), for_each=[1, 2])))
    run.send()
    turn = run.core._turn(run.now)
    live = run.core.runs["r"]
    copies = [extras.launch(turn, live, 0, item, AttemptKind.HEDGE, "io", 1.0) for item in (0, 1)]
    assert [copy.item for copy in copies] == [shadow(0), shadow(1)]
    assert {copy.attempt for copy in copies} == {2}


def test_a_copy_that_is_stopped_with_no_begin_mark_is_not_said_never_to_have_begun() -> None:
    race = Race()
    verdict = race.ends(race.copy, Outcome.OK)
    ended = {record.attempt: record for record in verdict.records if isinstance(record, AttemptEnded)}
    own = ended[race.own.attempt]
    assert (own.outcome, own.begun_at) == (Outcome.CANCELLED, None), "marks of short bodies come late, or never"
