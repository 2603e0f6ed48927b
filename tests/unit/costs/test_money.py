"""Nano-dollars: upwards, exact, and never shown as nothing."""

from __future__ import annotations

from decimal import Decimal

import pytest

from engine.costs.money import MOST_USD, limit_nusd, nusd, shown, usd


def test_amounts_become_whole_upwards() -> None:
    assert nusd("0.0000000001") == 1
    assert nusd(Decimal("1.0000000001")) == 1_000_000_001
    assert nusd(0) == 0


def test_a_float_is_taken_as_it_is_written() -> None:
    assert nusd(0.1) + nusd(0.2) == nusd(0.3) == 300_000_000
    assert usd(nusd(12.5)) == 12.5


@pytest.mark.parametrize(
    ("amount", "text"),
    [
        (0, "$0"), (1, "$0.000000001"), (1_500, "$0.0000015"), (12_345_678, "$0.012"), (500_000_000, "$0.50"),
        (994_000_000, "$0.99"), (999_900_000, "$1.00"), (1_234_567_890_123, "$1,234.57"), (-57_000_000, "-$0.057"),
    ],
)  # fmt: skip
def test_an_amount_is_shown_with_what_counts(amount: int, text: str) -> None:
    assert shown(amount) == text


@pytest.mark.parametrize("wrong", [float("nan"), float("inf"), "-Infinity"])
def test_what_is_no_amount_is_refused(wrong: float | str) -> None:
    with pytest.raises(ValueError, match="no amount"):
        nusd(wrong)


@pytest.mark.parametrize("wrong", [0.0, -1.0, float("nan"), float("inf"), MOST_USD * 2])
def test_a_limit_is_something_and_finite(wrong: float) -> None:
    with pytest.raises(ValueError, match="a limit on spend is more than"):
        limit_nusd(wrong)


def test_the_least_limit_is_not_rounded_to_nothing() -> None:
    assert limit_nusd(1e-12) == 1
    assert limit_nusd(0.29) == 290_000_000
