"""What a worker's process makes of outlines: odds at once, a router of texts in its own time."""

from __future__ import annotations

from engine.errors import Unavailable
from engine.learning.knowledge import Knowledge
from engine.learning.lessons import Lesson
from engine.learning.outline import outline
from engine.models.texts import LABELS_MIN
from engine.runtime.worker.taught import LIFT_MAX, FromOutlines, router_of

AT = 1_700_000_000.0


def lessons(count: int) -> list[Lesson]:
    texts = [f"Prove that x^{n} = {n}" if n % 2 else f"Name the capital of country {n}" for n in range(count)]
    return [Lesson("a/m", "t", text, not number % 2) for number, text in enumerate(texts)]


def text_of(count: int) -> str:
    knowledge = Knowledge()
    for lesson in lessons(count):
        knowledge.observe_answer(lesson, "routine", AT)
    return outline(knowledge)


def test_odds_are_known_at_once_and_texts_soon() -> None:
    taught = FromOutlines(lambda: text_of(2 * LABELS_MIN))
    assert 0.4 < taught.calibration.odds("a/m", 0.5, "t", "routine").chance < 0.6
    taught.learned(60)
    assert taught.lift("a/m", "t", "Prove that x^7 = 99") < -0.1
    assert 0.1 < taught.lift("a/m", "t", "Name the capital of country 7") <= LIFT_MAX
    assert taught.lift("a/m", "another", "Prove") == taught.lift("b/n", "t", "Prove") == 0.0


def test_too_few_texts_teach_nothing() -> None:
    assert router_of(lessons(LABELS_MIN - 1)) is None


def test_texts_are_left_alone_where_the_settings_say_so() -> None:
    taught = FromOutlines(lambda: text_of(2 * LABELS_MIN), texts=False)
    assert len(taught.calibration) == 2
    taught.learned(0)
    assert taught.lift("a/m", "t", "Prove that x^7 = 99") == 0.0


def test_an_outline_that_cannot_be_read_leaves_the_priors() -> None:
    def away() -> str:
        raise Unavailable("Redis is away")

    for read in (away, lambda: None, lambda: "{}", lambda: '{"kinds": []}'):
        assert FromOutlines(read).calibration.odds("a/m", 0.8, "t", "routine").chance == 0.8
