"""The vote's test, against voters whose odds are known: it errs no more often than it says."""

from __future__ import annotations

import random

import pytest

from engine.scheduling.voting import Tally, log_evidence, tally

TRIALS = 1500


def winner_of(chance: random.Random, odds: list[float], confidence: float, most: int) -> tuple[str | None, int]:
    """The ballot that is declared, if one is within ``most`` votes, looked at after each of them."""
    counted = Tally()
    for ballot in chance.choices([str(number) for number in range(len(odds))], odds, k=most):
        counted.count(ballot)
        if counted.settled(confidence, 1):
            return counted.leader(), counted.votes
    return None, counted.votes


@pytest.mark.parametrize("confidence", [0.7, 0.9])
@pytest.mark.parametrize(
    "odds",
    [[0.5, 0.5], [0.52, 0.48], [0.34, 0.33, 0.33], [0.2] * 5, [0.1] + [0.09] * 10, [0.6, 0.4], [0.3] + [0.01] * 70],
    ids=["even", "nearly-even", "three", "five", "eleven", "clear", "many-rare"],
)  # fmt: skip
def test_the_error_is_within_the_stated_confidence(odds: list[float], confidence: float) -> None:
    # Among equally likely ballots any but one named beforehand is taken for wrong: the worst there is.
    chance = random.Random(f"{odds}{confidence}")
    wrong = sum(winner_of(chance, odds, confidence, 100)[0] not in (None, "0") for _ in range(TRIALS))
    assert wrong / TRIALS <= 1 - confidence


def test_a_clear_vote_is_settled_soon() -> None:
    chance = random.Random(1)
    drawn = [winner_of(chance, [0.9, 0.1], 0.95, 200) for _ in range(300)]
    assert sum(winner == "0" for winner, _ in drawn) == 300
    assert sum(votes for _, votes in drawn) / 300 < 16


def test_eight_votes_of_one_mind_are_enough_for_nineteen_in_twenty() -> None:
    assert not tally("a" * 7).settled(0.95, 1)
    assert tally("a" * 8).settled(0.95, 1)
    assert not tally("a" * 8).settled(0.95, 9)


def test_a_bet_is_worth_its_stake_on_average_at_even_odds() -> None:
    # Over all outcomes of ten throws of a fair coin, the bet as it would stand then: a fair game.
    import math

    worth = sum(
        math.comb(10, heads) * math.exp(log_evidence(heads, 10 - heads)) for heads in range(5, 11)
    ) / 2**10  # fmt: skip
    assert worth <= 1.0


def test_a_lead_that_cannot_be_overtaken() -> None:
    counted = tally("aab")
    assert counted.unbeatable(0)
    assert not counted.unbeatable(1)
    assert counted.leader() == "a"


def test_nobody_leads_without_a_vote() -> None:
    assert Tally().leader() is None
    assert Tally().confidence() == 0.0
