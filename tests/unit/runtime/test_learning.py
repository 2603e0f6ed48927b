"""When what is learned is read, stored and told; that nothing of it holds a run up."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest

from engine.dag.compiled import CompiledPlan, CompiledStep
from engine.errors import Unavailable
from engine.learning.knowledge import STEPS_MAX
from engine.learning.outline import Outline, outline
from engine.learning.rows import Key, Learned, LearnedRow
from engine.runtime.learning import LOOK_S, STORE_S, TELL_S, Learning
from engine.scheduling.events import ConditionKnown
from engine.scheduling.records import AttemptEnded, Noted, RunChanged, RunState
from engine.scheduling.state import LiveRun
from engine.wire import Outcome
from tests.unit.scheduling.worlds import plan_of, step

RUN = LiveRun("r", plan_of(step(0), step(1, 0)), 0, RunState.RUNNING, [])


@dataclass
class Outside:
    """A journal, hot state and clock in memory; ``away`` makes the first two unreachable."""

    away: bool = False
    generation: int = 0
    rows: dict[Key, LearnedRow] = field(default_factory=dict)
    ratings: list[LearnedRow] = field(default_factory=list)
    stores: int = 0
    told: list[str] = field(default_factory=list)
    at: float = 1000.0

    def learned(self, shard: int, known: int | None) -> Learned | None:
        self._reach()
        return None if known == self.generation else Learned(self.generation, list(self.rows.values()))

    def keep_learned(
        self, shard: int, epoch: int, generation: int, rows: Sequence[LearnedRow], gone: Sequence[Key]
    ) -> bool:
        self._reach()
        if generation != self.generation:
            return False
        self.stores += 1
        self.rows |= {row.key: row for row in rows}
        return True

    def rated(self) -> list[LearnedRow]:
        self._reach()
        return self.ratings

    def write_outline(self, shard: int, text: str) -> None:
        self._reach()
        self.told.append(text)

    def now(self) -> float:
        return self.at

    def monotonic(self) -> float:
        return self.at

    @property
    def journal(self) -> Outside:
        return self

    hot = clock = journal

    def _reach(self) -> None:
        if self.away:
            raise Unavailable("away")


def learning_in(outside: Any) -> Learning:
    return Learning(0, 1, outside)


def ended(learning: Learning, outside: Outside, outcome: Outcome = Outcome.OK, seconds: float = 2.0) -> None:
    at = outside.at
    learning.take_in([AttemptEnded("r", 0, 0, 1, outcome, at, begun_at=at - seconds, ended_at=at)], {"r": RUN})


def test_a_body_is_known_in_the_turn_in_which_it_ended() -> None:
    outside = Outside()
    learning = learning_in(outside)
    ended(learning, outside)
    assert learning.knowledge.typical_s("p", "s0", "t") == pytest.approx(2.0)


def test_only_ends_that_say_something_of_the_body_teach() -> None:
    outside = Outside()
    learning = learning_in(outside)
    for outcome in (Outcome.LOST, Outcome.CANCELLED, Outcome.NOT_BEGUN, Outcome.INFRASTRUCTURE):
        ended(learning, outside, outcome)
    assert len(learning.knowledge) == 0
    for outcome in (Outcome.FAILED, Outcome.TIMED_OUT):
        ended(learning, outside, outcome)
    assert learning.knowledge.failure("p", "s0", "t") > 0.2
    assert learning.knowledge.quantile_s("p", "s0", "t", 0.5) is None


def test_the_value_of_a_condition_teaches_its_odds_and_an_error_nothing() -> None:
    learning = learning_in(Outside())
    learning.answered(ConditionKnown("r", 1, holds=True), RUN)
    learning.answered(ConditionKnown("r", 1, holds=False, error="no such name"), RUN)
    assert learning.knowledge.branch("p", "s1") == (pytest.approx(2 / 3), 1)


def test_what_changed_is_stored_now_and_then_and_soon_after_a_run_ends() -> None:
    outside = Outside()
    learning = learning_in(outside)
    learning.turn()
    for _ in range(100):
        outside.at += STORE_S / 20
        ended(learning, outside)
        learning.turn()
    assert outside.stores == pytest.approx(5, abs=1)
    outside.at += STORE_S
    learning.turn()
    stores = outside.stores
    outside.at += STORE_S - 0.1
    ended(learning, outside)
    learning.take_in([RunChanged("r", RunState.SUCCEEDED, "", outside.at)], {"r": RUN})
    learning.turn()
    assert outside.stores == stores + 1
    outside.at += 10 * STORE_S
    learning.turn()
    assert outside.stores == stores + 1, "nothing changed"


def test_the_next_scheduler_knows_what_this_one_stored_when_it_left() -> None:
    outside = Outside()
    first = learning_in(outside)
    first.turn()
    ended(first, outside)
    first.leave()
    second = learning_in(outside)
    second.turn()
    assert second.knowledge.typical_s("p", "s0", "t") == pytest.approx(2.0)


def test_nothing_is_stored_before_what_is_stored_was_read() -> None:
    outside = Outside()
    before = learning_in(outside)
    before.turn()
    for _ in range(9):
        ended(before, outside)
    before.leave()
    outside.away = True
    learning = learning_in(outside)
    ended(learning, outside)
    learning.turn()
    outside.away = False
    learning.leave()
    assert outside.rows["p", "s0", "t"].facts["ok"] == 9
    outside.at += LOOK_S
    learning.turn()
    assert learning.knowledge.bodies("p", "s0", "t") == 10


def test_what_could_not_be_stored_is_stored_later() -> None:
    outside = Outside()
    learning = learning_in(outside)
    learning.turn()
    ended(learning, outside)
    outside.away = True
    outside.at += STORE_S
    learning.turn()
    outside.away = False
    outside.at += STORE_S
    learning.turn()
    assert outside.rows["p", "s0", "t"].facts["ok"] == 1


def test_a_reset_empties_the_memory_and_is_not_undone_by_it() -> None:
    outside = Outside()
    learning = learning_in(outside)
    learning.turn()
    ended(learning, outside)
    outside.generation = 1
    learning.leave()
    assert outside.rows == {}
    learning.turn()
    assert len(learning.knowledge) == 0
    ended(learning, outside)
    outside.at += STORE_S
    learning.turn()
    assert set(outside.rows) == {("p", "s0", "t"), ("", "", "t")}


def test_workers_are_told_when_something_changed_and_not_too_often() -> None:
    outside = Outside()
    learning = learning_in(outside)
    for _ in range(10):
        outside.at += TELL_S / 5
        ended(learning, outside)
        learning.turn()
    assert 2 <= len(outside.told) <= 3
    told = Outline(outside.told[-1]).of("p", "s0", "t")
    assert told is not None
    assert told.typical_s == pytest.approx(2.0)
    assert Outline(outside.told[-1]).of("other", "step", "t") is not None
    assert Outline(outside.told[-1]).of("other", "step", "u") is None


def test_what_operators_rate_reaches_workers_with_the_next_outline_and_a_new_one_is_no_sum() -> None:
    outside = Outside()
    learning = learning_in(outside)
    for passed, failed in ((3.0, 0.0), (0.0, 3.0)):
        outside.at += TELL_S
        facts = {"ok": passed, "failed": failed}
        outside.ratings = [LearnedRow("", "rated:a/m|routine", "llm.extract", outside.at, facts)]
        learning.turn()
        assert Outline(outside.told[-1]).odds["a/m", "routine", "llm.extract"] == (passed, failed)
    told = len(outside.told)
    outside.at += TELL_S
    learning.turn()
    assert len(outside.told) == told, "nothing new was rated"


def test_an_outline_is_bounded() -> None:
    learning = learning_in(Outside())
    for number in range(1500):
        learning.knowledge.observe_bodies("p", f"s{number}", "t", [0.123456789] * 3, 1000.0 + number)
    text = outline(learning.knowledge)
    assert len(text) < 120_000
    assert Outline(text).of("p", "s1499", "t") != Outline(text).of("p", "s3", "t")


def test_the_steps_of_a_very_large_plan_are_not_told_apart() -> None:
    outside = Outside()
    learning = learning_in(outside)
    steps = tuple(CompiledStep(no, f"s{no}", f"t{no % 2}", {}) for no in range(STEPS_MAX + 1))
    runs = {"r": LiveRun("r", CompiledPlan("huge", "v", steps), 0, RunState.RUNNING, [])}
    learning.take_in(
        [AttemptEnded("r", no, 0, 1, Outcome.OK, 1.0, begun_at=1.0, ended_at=3.0) for no in range(9)], runs
    )
    assert {key for key, _ in learning.knowledge.kinds()} == {("", "", "t0"), ("", "", "t1")}
    assert learning.knowledge.bodies("huge", "s7", "t1") == 4
    assert learning.knowledge.typical_s("huge", "s7", "t1") == pytest.approx(2.0)


def test_outcomes_among_notes_are_learned_and_broken_ones_are_not() -> None:
    learning = learning_in(Outside())
    found = {"model": "a/m", "task": "t", "class": "routine", "text": "What?", "passed": False}
    learning.noted([Noted("r", 0, 0, 1, (("outcome", found), ("outcome", {"model": "a/m"}), ("ledger", {})))])
    assert Outline(outline(learning.knowledge)).odds["a/m", "routine", "t"] == (0.0, 1.0)
