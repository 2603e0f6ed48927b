"""Prices: of the list, of the settings, never nothing for want of knowledge, and bounds that hold."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.costs.price_list import LIST_OF, listed_as
from engine.costs.prices import Prices, UnknownPrice
from engine.costs.usage import Usage
from settings.economy.prices import Prices as Section

AT = datetime(2026, 11, 10, 12, tzinfo=UTC).timestamp()
_TEXT = Usage(input=1_000_000, output=1_000_000)
_LISTED = [
    ("openai", "gpt-5.4"), ("openai", "gpt-4o-mini"), ("openai", "o3"), ("anthropic", "claude-sonnet-4-5"),
    ("anthropic", "claude-haiku-4-5"), ("google", "gemini-2.5-pro"), ("google", "gemini-2.5-flash"),
    ("deepseek", "deepseek-flash"), ("perplexity", "sonar-pro"), ("mine", "both"), ("mine", "night"),
]  # fmt: skip
_MINE: dict[str, Any] = {
    "mine/both": {
        "input_usd": 3, "output_usd": 15, "cache_read_usd": "0.3", "cache_write_1h_usd": 6, "call_usd": "0.01",
    },
    "mine/night": {
        "like": "mine/both", "batch_discount": 0.5, "off_peak": [{"from": "22:00", "to": "06:30", "discount": 0.75}],
    },
}  # fmt: skip


def _prices(section: dict[str, Any] | None = None) -> Prices:
    return Prices(Section.model_validate(section if section is not None else _MINE).root)


def test_the_list_knows_the_main_providers() -> None:
    prices = _prices()
    assert prices.cost("openai", "gpt-4o-mini", _TEXT, AT) == 750_000_000
    assert prices.cost("anthropic", "claude-sonnet-4-5", Usage(cache_read=100_000), AT) == 30_000_000
    assert prices.cost("anthropic", "claude-haiku-4-5", Usage(0, 0, 1000, 1000, 0, 0), AT) == 3_250_000
    assert prices.cost("google", "gemini-2.5-flash", Usage(reasoning=1000), AT) == 2_500_000


def test_a_long_prompt_costs_more_for_all_of_its_tokens() -> None:
    prices = _prices()
    short, long = (prices.cost("google", "gemini-2.5-pro", Usage(input=n), AT) for n in (200_000, 200_001))
    assert (short, long) == (250_000_000, 500_002_500)


def test_a_batch_costs_what_the_list_has_for_it() -> None:
    prices = _prices()
    usage = Usage(1000, 1000, 1000, 1000, 1000, 0)
    assert 2 * prices.cost("anthropic", "claude-sonnet-4-5", usage, AT, batch=True) == prices.cost(
        "anthropic", "claude-sonnet-4-5", usage, AT
    )
    # Nobody says what it costs elsewhere, so that it costs there what any call does.
    assert prices.cost("deepseek", "deepseek-flash", usage, AT, batch=True) == prices.cost(
        "deepseek", "deepseek-flash", usage, AT
    )


def test_hours_off_peak_cost_less() -> None:
    prices = _prices()
    night = datetime(2026, 11, 10, 23, 59, tzinfo=UTC).timestamp()
    morning = datetime(2026, 11, 10, 6, 30, tzinfo=UTC).timestamp()
    usage = Usage(input=1_000_000)
    assert [prices.cost("mine", "night", usage, at) for at in (night, morning)] == [752_500_000, 3_010_000_000]
    peak = datetime(2026, 11, 10, 2, tzinfo=UTC).timestamp()
    assert prices.cost("deepseek", "deepseek-flash", usage, peak) == 2 * prices.cost(
        "deepseek", "deepseek-flash", usage, AT
    )


def test_discounts_of_the_settings_change_what_the_list_says() -> None:
    prices = _prices({"deepseek/*": {"batch_discount": 0.5}})
    usage = Usage(1000, 0, 0, 0, 1000, 0)
    batch, usual = (prices.cost("deepseek", "deepseek-flash", usage, AT, batch=batch) for batch in (True, False))
    assert 2 * batch == usual == _prices({}).cost("deepseek", "deepseek-flash", usage, AT)


def test_an_unknown_price_is_an_error_that_names_the_setting() -> None:
    with pytest.raises(UnknownPrice, match=r"vllm/llama: \{input_usd"):
        _prices().cost("vllm", "llama", Usage(), AT)
    with pytest.raises(UnknownPrice):
        _prices().ceiling("my-openai", "gpt-5.4", 1, 1, AT)  # a name that only resembles a provider's
    assert not _prices().known("openai", "no-such-model")


def test_a_price_that_has_no_output_is_no_price_of_output() -> None:
    prices = _prices()
    assert prices.cost("openai", "text-embedding-3-small", Usage(input=1_000_000), AT) == 20_000_000
    with pytest.raises(UnknownPrice, match="no price for output"):
        prices.cost("openai", "text-embedding-3-small", Usage(output=1), AT)
    with pytest.raises(UnknownPrice):
        prices.ceiling("openai", "text-embedding-3-small", 1, 1, AT)


def test_the_model_that_ships_is_declared_at_nothing() -> None:
    assert _prices().cost("local", "extractive", _TEXT, AT) == 0


def test_a_name_comes_before_a_pattern_and_a_long_pattern_before_a_short_one() -> None:
    section = {
        f"vllm/{name}": {"input_usd": price, "output_usd": 0} for name, price in (("*", 1), ("q*", 2), ("qwen", 3))
    }
    prices = _prices(section)
    assert [prices.cost("vllm", name, Usage(input=1_000_000), AT) for name in ("llama", "q2", "qwen")] == [
        1_000_000_000,
        2_000_000_000,
        3_000_000_000,
    ]


def test_models_that_are_only_like_each_other_have_no_price() -> None:
    with pytest.raises(UnknownPrice, match="like"):
        _prices({"a/b": {"like": "a/c"}, "a/c": {"like": "a/b"}}).cost("a", "b", Usage(), AT)


@pytest.mark.parametrize(
    "wrong",
    [
        {"input_usd": 1}, {"cache_read_usd": 1}, {"like": "a/b", "input_usd": 1, "output_usd": 1},
        {"input_usd": -1, "output_usd": 1}, {"input_usd": "NaN", "output_usd": 1}, {"batch_discount": 2},
        {"off_peak": [{"from": "25:00", "to": "1:00", "discount": 0.5}]}, {"price": 1},
    ],
)  # fmt: skip
def test_a_section_that_does_not_hold_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError):
        Section.model_validate({"a/b": wrong})


def test_hours_that_yaml_reads_as_a_number_are_meant_as_hours() -> None:
    section = Section.model_validate(
        {"a/b": {"like": "x/y", "off_peak": [{"from": 990, "to": "00:30", "discount": 1}]}}
    )
    assert section.root["a/b"].off_peak[0].start.isoformat() == "16:30:00"


_COUNTS = st.integers(0, 400_000)


@given(
    st.sampled_from(_LISTED),
    st.tuples(_COUNTS, _COUNTS, _COUNTS, _COUNTS, _COUNTS, _COUNTS),
    st.integers(0, 300_000),
    st.integers(0, 86_400),
    st.integers(0, 86_400),
    st.booleans(),
)
def test_no_cost_is_above_its_ceiling(
    named: tuple[str, str], counts: tuple[int, ...], spare: int, second: int, later: int, batch: bool
) -> None:
    usage, begun = Usage(*counts), AT + second
    ceiling = _PRICES.ceiling(*named, usage.input_total + spare, usage.output_total + spare, begun, batch)
    assert _PRICES.cost(*named, usage, begun + later, batch) <= ceiling


_PRICES = _prices()


def test_what_the_cache_saved_is_against_the_same_call_without_it() -> None:
    prices = _prices()
    sonnet = ("anthropic", "claude-sonnet-4-5")
    assert prices.saved(*sonnet, Usage(cache_read=1_000_000), AT) == 5_400_000_000  # a long prompt, at 6 instead of 0.6
    assert prices.saved(*sonnet, Usage(cache_write_5m=1000), AT) == -750_000
    assert prices.saved(*sonnet, Usage(input=1000), AT, batch=True) == 1_500_000
    assert prices.saved(*sonnet, Usage(input=1000, output=1000), AT) == 0


def test_the_list_says_its_date() -> None:
    assert listed_as().startswith("genai-prices 0.")
    assert any(date in listed_as() for date in LIST_OF.values())
