"""What is learned, how old evidence fades, and that it stays bounded."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from engine.learning.kinds import BRANCHES_KEPT, DURATIONS_KEPT, ENDS_KEPT, HALF_LIFE_S
from engine.learning.knowledge import Knowledge
from engine.learning.rows import LearnedRow
from engine.scheduling.odds import NoOdds, Odds

NOW = 1_700_000_000.0


def rows_of(knowledge: Knowledge) -> list[LearnedRow]:
    """All rows, as they come back from storage."""
    rows, _ = knowledge.unstored(1_000_000)
    return [replace(row, facts=json.loads(json.dumps(row.facts))) for row in rows]


def test_the_core_may_ask_what_was_learned() -> None:
    odds: list[Odds] = [Knowledge(), NoOdds()]
    for each in odds:
        assert each.typical_s("p", "a", "t") is None
        assert each.quantile_s("p", "a", "t", 0.9) is None
        assert each.bodies("p", "a", "t") == 0
        assert each.branch("p", "a") is None
        assert each.failure("p", "a", "t") <= 0.01


def test_a_step_seldom_seen_is_answered_for_by_its_task_type() -> None:
    knowledge = Knowledge()
    knowledge.observe_bodies("p", "often", "t", [1.0] * 10, NOW)
    knowledge.observe_bodies("p", "seldom", "t", [9.0] * 2, NOW)
    assert knowledge.typical_s("p", "often", "t") == pytest.approx(1.0)
    assert knowledge.typical_s("p", "seldom", "t") == knowledge.typical_s("other", "step", "t") != pytest.approx(9.0)
    knowledge.observe_bodies("p", "seldom", "t", [9.0], NOW)
    assert knowledge.typical_s("p", "seldom", "t") == pytest.approx(9.0)


def test_the_first_body_is_believed_and_a_change_is_followed_within_a_few_dozen() -> None:
    knowledge = Knowledge()
    knowledge.observe_bodies("p", "a", "t", [0.5], NOW)
    assert knowledge.typical_s("p", "a", "t") == pytest.approx(0.5)
    knowledge.observe_bodies("p", "a", "t", [0.5] * 100_000, NOW)
    knowledge.observe_bodies("p", "a", "t", [0.01] * 40, NOW)
    assert knowledge.typical_s("p", "a", "t") == pytest.approx(0.02, abs=0.01)


def test_bodies_one_by_one_teach_about_what_the_same_at_once_teach() -> None:
    singly, together = Knowledge(), Knowledge()
    for _ in range(30):
        singly.observe_bodies("p", "a", "t", [0.2], NOW)
    together.observe_bodies("p", "a", "t", [0.2] * 30, NOW)
    assert singly.typical_s("p", "a", "t") == pytest.approx(together.typical_s("p", "a", "t"))
    assert singly.bodies("p", "a", "t") == together.bodies("p", "a", "t") == 30


def test_a_failed_body_says_how_long_a_slot_is_held_but_not_how_long_success_takes() -> None:
    knowledge = Knowledge()
    knowledge.observe_bodies("p", "a", "t", [30.0] * 5, NOW, ok=False)
    assert knowledge.typical_s("p", "a", "t") == pytest.approx(30.0)
    assert knowledge.quantile_s("p", "a", "t", 0.5) is None
    assert knowledge.bodies("p", "a", "t") == 0


def test_a_clock_that_jumped_teaches_nothing() -> None:
    knowledge = Knowledge()
    knowledge.observe_bodies("p", "a", "t", [-5.0], NOW)
    assert len(knowledge) == 0
    knowledge.observe_bodies("p", "a", "t", [-5.0, 1.0], NOW)
    assert knowledge.typical_s("p", "a", "t") == pytest.approx(1.0)


def test_evidence_halves_with_what_follows_it() -> None:
    knowledge = Knowledge()
    knowledge.observe_bodies("p", "a", "t", [1.0] * DURATIONS_KEPT, NOW)
    for _ in range(5):
        knowledge.observe_bodies("p", "a", "t", [3.0] * DURATIONS_KEPT, NOW)
    assert knowledge.bodies("p", "a", "t") < 2 * DURATIONS_KEPT
    assert knowledge.quantile_s("p", "a", "t", 0.1) == pytest.approx(3.0)


def test_evidence_halves_with_its_age() -> None:
    knowledge = Knowledge()
    knowledge.observe_bodies("p", "a", "t", [1.0] * 400, NOW)
    knowledge.observe_ends("p", "a", "t", 300, 100, NOW)
    knowledge.observe_bodies("p", "a", "t", [1.0], NOW + HALF_LIFE_S)
    assert knowledge.bodies("p", "a", "t") == 201
    assert knowledge.failure("p", "a", "t") == pytest.approx(50.05 / 205)


def test_odds_of_a_branch_begin_at_even_and_follow_what_happened() -> None:
    knowledge = Knowledge()
    knowledge.observe_branch("p", "a", 1, 0, NOW)
    assert knowledge.branch("p", "a") == (pytest.approx(2 / 3), 1)
    knowledge.observe_branch("p", "a", 7, 2, NOW)
    assert knowledge.branch("p", "a") == (pytest.approx(9 / 12), 10)
    for _ in range(5 * BRANCHES_KEPT):
        knowledge.observe_branch("p", "a", 0, 1, NOW)
    odds = knowledge.branch("p", "a")
    assert odds is not None
    assert odds[0] < 0.05
    assert odds[1] <= 2 * BRANCHES_KEPT


def test_failure_odds_begin_at_one_percent_and_follow_what_happened() -> None:
    knowledge = Knowledge()
    assert knowledge.failure("p", "a", "t") == pytest.approx(0.01)
    knowledge.observe_ends("p", "a", "t", 80, 20, NOW)
    assert knowledge.failure("p", "a", "t") == pytest.approx(0.19, abs=0.01)
    knowledge.observe_ends("p", "a", "t", 0, 10 * ENDS_KEPT, NOW)
    assert knowledge.failure("p", "a", "t") > 0.98


def test_what_is_stored_and_loaded_answers_the_same() -> None:
    before, after = Knowledge(), Knowledge()
    before.observe_bodies("p", "a", "t", [0.001 * number for number in range(1, 1000)], NOW)
    before.observe_ends("p", "a", "t", 990, 9, NOW)
    before.observe_branch("p", "a", 8, 2, NOW)
    before.observe_items("p", "a", 70, NOW)
    after.load(rows_of(before))
    assert after.typical_s("p", "a", "t") == pytest.approx(before.typical_s("p", "a", "t"))
    assert after.bodies("p", "a", "t") == before.bodies("p", "a", "t")
    assert after.quantile_s("p", "a", "t", 0.9) == pytest.approx(before.quantile_s("p", "a", "t", 0.9), rel=0.01)
    assert after.branch("p", "a") == before.branch("p", "a")
    assert after.failure("p", "a", "t") == pytest.approx(before.failure("p", "a", "t"))
    assert after.items("p", "a") == 70
    assert after.unstored(10) == ([], [])


def test_a_row_of_another_form_is_learned_anew() -> None:
    knowledge = Knowledge()
    knowledge.load([LearnedRow("p", "a", "t", NOW, {"centroids": 3, "colour": "blue"})])
    assert len(knowledge) == 0


def test_only_what_changed_since_it_was_stored_is_stored_again() -> None:
    knowledge = Knowledge()
    knowledge.observe_bodies("p", "a", "t", [1.0], NOW)
    rows, gone = knowledge.unstored(10)
    assert {(row.plan, row.path, row.task) for row in rows} == {("p", "a", "t"), ("", "", "t")}
    knowledge.stored(rows, gone)
    assert knowledge.unstored(10) == ([], [])
    knowledge.observe_branch("p", "b", 1, 0, NOW)
    assert [(row.plan, row.path, row.task) for row in knowledge.unstored(10)[0]] == [("p", "b", "")]


def test_what_two_schedulers_learned_comes_together() -> None:
    one, other = Knowledge(), Knowledge()
    one.observe_bodies("p", "a", "t", [1.0] * 10, NOW)
    other.observe_bodies("p", "a", "t", [3.0] * 30, NOW)
    other.observe_branch("p", "b", 3, 1, NOW)
    one.merge(other)
    assert one.bodies("p", "a", "t") == 40
    assert one.typical_s("p", "a", "t") == pytest.approx(2.5)
    assert one.branch("p", "b") == other.branch("p", "b")


def test_kinds_not_seen_for_longest_go_when_there_are_too_many() -> None:
    knowledge = Knowledge(kinds_max=20)
    for number in range(30):
        knowledge.observe_branch(f"plan{number}", "a", 1, 0, NOW + number)
    assert len(knowledge) <= 20
    assert knowledge.branch("plan0", "a") is None
    assert knowledge.branch("plan29", "a") is not None
    assert ("plan0", "a", "") in knowledge.unstored(100)[1]


def test_a_plan_of_very_many_steps_crowds_nothing_out() -> None:
    knowledge = Knowledge(kinds_max=100, steps_max=10)
    knowledge.observe_branch("small", "a", 1, 0, NOW)
    for number in range(1000):
        knowledge.observe_bodies("huge", f"step{number}", "t", [1.0], NOW + 1)
    assert len(knowledge) == 12
    assert knowledge.branch("small", "a") is not None
    assert knowledge.typical_s("huge", "step999", "t") == pytest.approx(1.0)
