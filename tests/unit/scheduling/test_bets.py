"""Bets: when one is made, what becomes of it, and that what it rests on decides alone."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import pytest

from engine.dag.compiled import CompiledPlan, JoinKind
from engine.dag.guesses import with_guesses
from engine.scheduling.core import Core
from engine.scheduling.events import (
    Commanded,
    ConditionKnown,
    GuessKnown,
    NeedCondition,
    NeedMatch,
    PermitsRevoked,
    Placement,
    Request,
    StopAttempts,
    Verdict,
)
from engine.scheduling.outstanding import Room
from engine.scheduling.records import AttemptEnded, AttemptKind, Decision, Dispatched, NodeFinished, Record, RunState
from engine.scheduling.state import Policy
from engine.scheduling.wagers import OBSERVATIONS, guess_path
from engine.wire import Outcome, shadow
from tests.unit.scheduling.worlds import OneRun, plan_of, step

ALL_QUEUES = frozenset({"io", "speculative"})


def room_of(slots: int = 4, queues: frozenset[str] = ALL_QUEUES) -> Room:
    return Room(dict.fromkeys(queues, slots), workers=[(queues, slots)])


@dataclass
class Known:
    """Odds as a test says."""

    branches: dict[str, tuple[float, int]] = field(default_factory=dict)
    seconds: float | None = 10.0

    def typical_s(self, plan: str, path: str, task: str) -> float | None:
        return self.seconds

    def quantile_s(self, plan: str, path: str, task: str, q: float) -> float | None:
        return self.seconds

    def bodies(self, plan: str, path: str, task: str) -> int:
        return 0

    def branch(self, plan: str, path: str) -> tuple[float, int] | None:
        return self.branches.get(path)

    def failure(self, plan: str, path: str, task: str) -> float:
        return 0.0


class Speculating(OneRun):
    """A run whose odds are known; what the core asks for is answered by the test."""

    def __init__(self, plan: CompiledPlan, odds: Known, policy: Policy | None = None) -> None:
        self.known = odds
        self.asked: list[Request] = []
        self.stopped: list[tuple[int, int]] = []
        self.first = self.bet = Placement("r", 0, 0, 0)
        super().__init__(plan, policy)
        self.restart()

    def restart(self) -> None:
        self.core = Core(self.policy, self.known)
        self._keep(self.core.take(self.journal.load("r"), self.plan, self.now))

    def bets(self, room: Room | None = None) -> list[Placement]:
        return [placement for placement in self.send(room or room_of()) if placement.item < 0]

    def _keep(self, verdict: Verdict) -> list[Record]:
        self.asked += verdict.requests
        self.stopped += [
            node for effect in verdict.effects if isinstance(effect, StopAttempts) for node in effect.nodes
        ]
        return super()._keep(verdict)


def conditional(join: JoinKind = JoinKind.ALL, **facts: object) -> CompiledPlan:
    """``s0`` is asked about by the condition of ``s1``; ``s2`` follows."""
    act = replace(step(1, 0, join=join), when="steps.s0.output", condition_parents=(0,))
    act = replace(act, **facts)  # type: ignore[arg-type]  # fields of a step, as a test says
    return replace(plan_of(step(0), act, step(2, 1, join=JoinKind.ALL_DONE)), value_of_time_usd_per_h=36.0)


def guessed(join: JoinKind = JoinKind.ALL) -> CompiledPlan:
    """``s0`` is guessed by ``s1``; ``s2`` reads ``s0``."""
    plan = plan_of(replace(step(0), guess=1), step(1), replace(step(2, 0, join=join), reads=(0,)))
    return replace(plan, steps=with_guesses(plan.steps), value_of_time_usd_per_h=36.0)


def likely(p: float = 0.8, observations: int = 20) -> Known:
    return Known({"s1": (p, observations), guess_path("s0"): (p, observations)})


def on_condition(odds: Known | None = None, plan: CompiledPlan | None = None) -> Speculating:
    """``s0`` is running and a bet on ``s1`` is out."""
    run = Speculating(plan or conditional(), odds or likely())
    run.first, *out = run.send(room_of())
    if out:
        (run.bet,) = out
    return run


def on_guess(join: JoinKind = JoinKind.ALL) -> tuple[Speculating, Placement, Placement]:
    """``s0`` is running, the guess is there, and a bet on ``s2`` is out."""
    run = Speculating(guessed(join), likely())
    dear, cheap = run.send(room_of())
    run.end(cheap)
    (bet,) = run.bets()
    return run, dear, bet


def decisions(records: list[Record]) -> list[str]:
    return [record.reason for record in records if isinstance(record, Decision)]


def results(records: list[Record]) -> list[tuple[int, int]]:
    return [(record.step_no, record.attempt) for record in records if isinstance(record, NodeFinished)]


def test_a_likely_branch_is_started_while_its_condition_is_computed() -> None:
    run = Speculating(conditional(), likely())
    records = run.core.dispatch(room_of(), run.now, 10)[1].records
    sent = [(record.step_no, record.kind, record.queue) for record in records if isinstance(record, Dispatched)]
    assert sent == [(0, AttemptKind.PRIMARY, "io"), (1, AttemptKind.SPECULATIVE, "speculative")]
    (decision,) = [record for record in records if isinstance(record, Decision)]
    assert (decision.kind, decision.step_no) == ("speculate", 1)
    gain = 0.8 * 10 * 36 / 3600 - 0.2 * 10 * 0.05 / 3600
    assert decision.figures["p"] == 0.8
    assert decision.figures["observations"] == 20
    assert decision.figures["saves_s"] == 10.0
    assert decision.figures["expected_gain_usd"] == pytest.approx(gain)


def test_only_the_rest_of_what_is_awaited_can_be_saved() -> None:
    run = Speculating(conditional(), likely())
    run.send(Room({"io": 4}))
    run.now += 7.0
    records = run.core.dispatch(room_of(), run.now, 10)[1].records
    assert [record.figures["saves_s"] for record in records if isinstance(record, Decision)] == [3.0]


@pytest.mark.parametrize(
    ("why", "plan", "odds"),
    [
        ("the other branch is likelier", conditional(), likely(0.4)),
        ("too little is known", conditional(), likely(observations=OBSERVATIONS - 1)),
        ("nothing is known of the condition", conditional(), Known()),
        ("nobody knows how long it takes", conditional(), replace(likely(), seconds=None)),
        ("time is worth nothing", replace(conditional(), value_of_time_usd_per_h=None), likely()),
        ("time is worth less than the stake", replace(conditional(), value_of_time_usd_per_h=0.001), likely(0.6)),
        ("twice is harm", conditional(effects="idempotent"), likely()),
        ("it holds a pool", conditional(pools=("db",)), likely()),
        ("it is a fan-out", conditional(for_each=[1, 2]), likely()),
        ("its condition needs what its arguments need", conditional(reads=(0,), condition_parents=()), likely()),
        ("its join may hold before", conditional(JoinKind.ANY), likely()),
    ],
)
def test_no_bet_where(why: str, plan: CompiledPlan, odds: Known) -> None:
    assert on_condition(odds, plan).bet.item == 0, why


@pytest.mark.parametrize(
    ("why", "room"),
    [
        ("nobody serves the queue", Room({"io": 4}, workers=[(frozenset({"io"}), 4)])),
        ("the only slot is taken", room_of(1)),
        ("its task type has a rate limit", replace(room_of(), tokens={"t": 5})),
        ("the queue is paused", replace(room_of(), paused=frozenset({"speculative"}))),
    ],
)
def test_no_bet_if(why: str, room: Room) -> None:
    assert not Speculating(conditional(), likely()).bets(room), why


def test_no_bet_if_it_is_switched_off() -> None:
    assert not Speculating(conditional(), likely(), Policy(speculate=False)).bets()


def test_the_result_of_a_bet_is_held_until_the_condition_is_known_and_then_the_nodes() -> None:
    run = on_condition()
    bet = run.bet
    held = run.end(bet)
    assert not results(held)
    assert not [record for record in held if isinstance(record, AttemptEnded)]
    assert run.states() == ["running", "waiting", "waiting"]
    run.end(run.first)
    assert run.asked == [NeedCondition("r", 1)]
    adopted = run.tell(ConditionKnown("r", 1, holds=True))
    assert results(adopted) == [(1, bet.attempt)]
    assert decisions(adopted) == ["adopted: the condition is true"]
    assert [placement.step_no for placement in run.send()] == [2]


def test_a_bet_that_is_running_when_the_condition_proves_true_becomes_the_nodes_attempt() -> None:
    run = on_condition()
    bet = run.bet
    run.end(run.first)
    run.tell(ConditionKnown("r", 1, holds=True))
    assert run.send(room_of()) == []
    assert results(run.end(bet)) == [(1, bet.attempt)]
    assert run.states()[1] == "succeeded"


def test_an_adopted_bet_that_fails_costs_the_node_no_try() -> None:
    run = on_condition()
    bet = run.bet
    run.end(run.first)
    run.tell(ConditionKnown("r", 1, holds=True))
    run.fail(bet)
    (own,) = run.send(room_of())
    assert (own.step_no, own.item) == (1, 0)
    assert own.attempt > bet.attempt
    assert results(run.end(own)) == [(1, own.attempt)]


@pytest.mark.parametrize("done", [True, False])
def test_a_bet_on_a_condition_that_proves_false_is_dropped(done: bool) -> None:
    run = on_condition()
    bet = run.bet
    if done:
        run.end(bet)
    run.end(run.first)
    records = run.tell(ConditionKnown("r", 1, holds=False))
    assert decisions(records) == ["dropped: condition is false: steps.s0.output"]
    ends = [record for record in records if isinstance(record, AttemptEnded)]
    assert [(end.attempt, end.outcome is Outcome.OK) for end in ends] == [(bet.attempt, False)]
    assert run.stopped == ([] if done else [(1, shadow(0))])
    assert run.states()[1] == "skipped"
    assert not results(run.end(bet))


def test_a_bet_that_fails_is_dropped_and_not_made_again() -> None:
    run = on_condition()
    bet = run.bet
    run.fail(bet)
    assert run.bets() == []
    run.end(run.first)
    run.tell(ConditionKnown("r", 1, holds=True))
    (own,) = run.send(room_of())
    assert (own.step_no, own.item) == (1, 0)


def test_bets_give_way_to_work_that_is_certain() -> None:
    run = on_condition()
    assert run.bet.item < 0
    records = run.core.dispatch(room_of(1), run.now, 10)[1].records
    assert decisions(records) == ["dropped: its slot is wanted for work that is certain"]


def test_a_bet_that_was_adopted_does_not_wait_in_a_queue_that_nobody_serves() -> None:
    run = on_condition()
    run.end(run.first)
    run.tell(ConditionKnown("r", 1, holds=True))
    nobody = Room({"io": 4}, workers=[(frozenset({"io"}), 4)])
    run.send(nobody)
    assert run.stopped == [(1, shadow(0))]
    assert [(own.step_no, own.item) for own in run.send(nobody)] == [(1, 0)]


@pytest.mark.parametrize("done", [True, False])
def test_a_cancelled_run_ends_with_its_bets(done: bool) -> None:
    run = on_condition()
    bet = run.bet
    if done:
        run.end(bet)
    run.tell(Commanded(1, "r", "cancel"))
    if not done:
        run.end(bet)
    run.tell(PermitsRevoked("r", frozenset()))
    assert run.state is RunState.CANCELLED
    rows = run.journal.attempts["r", 1, 0]
    assert [row.outcome is not None and row.outcome is not Outcome.OK for row in rows.values()] == [True]


@pytest.mark.parametrize("done", [True, False])
def test_a_takeover_ends_the_bets_and_makes_new_ones(done: bool) -> None:
    run = on_condition()
    bet = run.bet
    if done:
        run.end(bet)
    run.restart()
    assert run.journal.attempts["r", 1, 0][bet.attempt].outcome is Outcome.CANCELLED, "it may have begun"
    (again,) = run.bets()
    assert again.attempt > bet.attempt


def test_what_reads_a_guessed_output_starts_on_the_guess() -> None:
    run, _, bet = on_guess()
    assert (bet.step_no, bet.item) == (2, shadow(0))
    assert run.core.runs["r"].guessing == {2: 0}


@pytest.mark.parametrize("done", [True, False])
def test_a_right_guess_adopts_the_bet(done: bool) -> None:
    run, dear, bet = on_guess()
    if done:
        run.end(bet)
    run.end(dear)
    assert run.asked == [NeedMatch("r", 0)]
    assert run.send(room_of()) == [], "the node waits for the word on the guess"
    told = run.tell(GuessKnown("r", 0, right=True))
    told += [] if done else run.end(bet)
    assert results(told) == [(2, bet.attempt)]
    assert run.state is RunState.SUCCEEDED


@pytest.mark.parametrize("done", [True, False])
def test_a_wrong_guess_drops_the_bet_and_the_step_runs_on_the_real_output(done: bool) -> None:
    run, dear, bet = on_guess()
    if done:
        run.end(bet)
    run.end(dear)
    assert decisions(run.tell(GuessKnown("r", 0, right=False))) == ["dropped: the guess was wrong"]
    (own,) = run.send(room_of())
    assert (own.step_no, own.item) == (2, 0)
    assert not results(run.end(bet))
    assert results(run.end(own)) == [(2, own.attempt)]


def test_a_bet_that_fails_while_the_guess_is_compared_gives_the_node_back() -> None:
    run, dear, bet = on_guess()
    run.end(dear)
    run.fail(bet)
    run.tell(GuessKnown("r", 0, right=True))
    assert [(own.step_no, own.item) for own in run.send(room_of())] == [(2, 0)]


@pytest.mark.parametrize("join", [JoinKind.ALL, JoinKind.ALL_DONE])
def test_a_guessed_step_that_fails_leaves_nothing_to_compare(join: JoinKind) -> None:
    run, dear, _ = on_guess(join)
    records = run.fail(dear)
    assert [reason.split(":")[0] for reason in decisions(records)] == ["dropped"]
    assert run.asked == [] or join is JoinKind.ALL
    own = run.send(room_of())
    assert [(placement.step_no, placement.item) for placement in own] == ([(2, 0)] if join is JoinKind.ALL_DONE else [])


def test_guesses_are_compared_for_their_odds_where_no_bet_was_made() -> None:
    run = Speculating(guessed(), Known())
    dear, cheap = run.send(room_of())
    run.end(dear)
    run.end(cheap)
    assert run.asked == [NeedMatch("r", 0)]
    assert [placement.step_no for placement in run.send()] == [2]
