"""What is kept of checked answers: odds of models, and texts, stored, told and reset with all else."""

from __future__ import annotations

from engine.learning.kinds import HALF_LIFE_S
from engine.learning.knowledge import Knowledge
from engine.learning.lessons import TEXT_MAX, Lesson, Lessons
from engine.learning.outline import Outline, outline

AT = 1_700_000_000.0


def lesson(text: str = "What?", passed: bool = True, model: str = "a/m:1|x") -> Lesson:
    return Lesson(model, "llm.extract", text, passed)


def test_checked_answers_reach_workers_by_class_and_as_a_whole() -> None:
    knowledge = Knowledge()
    knowledge.observe_answer(lesson(), "routine", AT)
    knowledge.observe_answer(lesson("Why?", passed=False), "critical", AT)
    told = Outline(outline(knowledge))
    assert told.odds == {
        ("a/m:1|x", "routine", "llm.extract"): (1.0, 0.0),
        ("a/m:1|x", "critical", "llm.extract"): (0.0, 1.0),
        ("a/m:1|x", "*", "llm.extract"): (1.0, 1.0),
    }
    assert told.lessons == (lesson(), lesson("Why?", passed=False))


def test_old_evidence_counts_less() -> None:
    knowledge = Knowledge()
    for _ in range(8):
        knowledge.observe_answer(lesson(passed=False), "routine", AT)
    knowledge.observe_answer(lesson(), "routine", AT + 2 * HALF_LIFE_S)
    passed, failed = Outline(outline(knowledge)).odds["a/m:1|x", "routine", "llm.extract"]
    assert (passed, failed) == (1.0, 2.0)


def test_what_is_stored_and_loaded_tells_the_same() -> None:
    knowledge, again = Knowledge(), Knowledge()
    for place in range(5):
        knowledge.observe_answer(lesson(f"text {place}", passed=place % 2 == 0), "routine", AT + place)
    rows, gone = knowledge.unstored(100)
    knowledge.stored(rows, gone)
    assert knowledge.unstored(100) == ([], [])
    again.load(rows)
    assert outline(again) == outline(knowledge)
    again.clear()
    assert Outline(outline(again)).lessons == ()


def test_the_newest_texts_are_kept_once_and_short() -> None:
    lessons = Lessons(most=3)
    for place in range(5):
        lessons.observe(lesson(f"{place}" + "x" * 1000), AT + place)
    lessons.observe(lesson("3" + "x" * 1000, passed=False), AT + 9)
    assert [(each.text[0], each.passed) for each in lessons] == [("2", True), ("4", True), ("3", False)]
    assert all(len(each.text) == TEXT_MAX for each in lessons)
    rows, gone = lessons.unstored(100)
    assert len(rows) == 3
    assert len(gone) == 2
    fresh = Lessons(most=2)
    fresh.load(rows)
    assert [each.text[0] for each in fresh] == ["4", "3"]
