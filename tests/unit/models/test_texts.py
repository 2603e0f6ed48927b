"""What a router learns from texts, on texts whose difficulty is plain."""

from __future__ import annotations

import pytest

from engine.models.texts import TextRouter, seen, traits

EASY = [f"Name the capital of country {place}" for place in range(60)]
HARD = [f"Prove that the integral of x^{place} dx = {place} \\frac{{a}}{{b}}" for place in range(60)]


def learned() -> TextRouter:
    weak = [1.0] * 60 + [0.0] * 60
    return TextRouter.learned(seen(EASY + HARD), {"a/weak": weak, "a/strong": [1.0] * 120})


def test_a_router_tells_texts_apart_that_a_model_passes_and_fails() -> None:
    router = learned()
    easy, hard = router.odds(
        "a/weak", seen(["Name the capital of country 99", "Prove that the integral of x^99 dx = 7"])
    )
    assert easy > 0.7 > 0.3 > hard
    assert router.lift("a/strong", seen(["anything"])) == pytest.approx([0.0])
    assert router.models() == ["a/strong", "a/weak"]
    assert router.labels == 120


def test_the_same_outcomes_give_the_same_router() -> None:
    some = seen(["Name the integral of country 3"])
    assert learned().odds("a/weak", some) == learned().odds("a/weak", some)


def test_what_nobody_looked_at_is_not_learned_from() -> None:
    unknown = [None] * 30
    router = TextRouter.learned(seen(EASY + HARD), {"a/weak": [0.0, 1.0] * 45 + unknown, "b/never": [None] * 120})
    assert router.models() == ["a/weak"]
    assert router.lift("b/never", seen(["x"])) == pytest.approx([0.0])
    with pytest.raises(ValueError, match="no text has a score"):
        TextRouter.learned(seen(EASY), {"a/weak": [None] * 60})


def test_one_label_and_an_empty_text_are_no_errors() -> None:
    router = TextRouter.learned(seen([""]), {"a/weak": [1.0]})
    assert 0.0 <= router.odds("a/weak", seen(["", "x" * 100_000]))[1] <= 1.0
    assert len(traits("")) == len(traits("A. b\nB. c\n- d"))
