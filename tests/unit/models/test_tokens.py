"""Counts and bounds of tokens: exact, learned, and never too low."""

from __future__ import annotations

import subprocess
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.models import tokens
from engine.models.tokens import BYTES_A_TOKEN, MESSAGE_OVERHEAD, Ratios, bound, bound_all, count, exact, vocabulary

GPT, CLAUDE = "openai/gpt-4o", "anthropic/claude-sonnet-4-5"


@pytest.mark.parametrize(
    ("model", "name"),
    [
        ("openai/gpt-4o-mini", "o200k_base"),
        ("gpt-5.1", "o200k_base"),
        ("openrouter/openai/gpt-oss-120b", "o200k_base"),
        ("openai/o3", "o200k_base"),
        ("openai/ft:gpt-4.1-mini:us:x", "o200k_base"),
        ("azure/gpt-4-turbo", "cl100k_base"),
        ("openai/text-embedding-3-small", "cl100k_base"),
        (CLAUDE, None),
        ("local/olmo-2", None),
        ("local/extractive", None),
    ],
)
def test_a_model_reads_with_a_public_vocabulary_or_with_one_nobody_has(model: str, name: str | None) -> None:
    assert vocabulary(model) == name


def test_openai_models_are_counted_exactly() -> None:
    # As OpenAI's own tokeniser gives them: each of these words is one token in o200k_base.
    assert count("hello world", GPT) == 2
    assert count("", GPT) == 0
    assert exact(GPT)
    assert tokens.method(GPT) == "exact (o200k_base)"


def test_marks_that_steer_a_model_count_as_the_text_they_are() -> None:
    assert count("<|endoftext|>", GPT) > 1


def test_a_text_of_over_a_million_characters_is_counted_in_parts() -> None:
    assert abs(count("word " * 300_000, GPT) - 300_000) <= 4


def test_other_models_are_counted_by_a_ratio_which_says_that_it_is_one() -> None:
    assert not exact(CLAUDE)
    assert count("x" * 330, CLAUDE, Ratios()) == round(330 / BYTES_A_TOKEN)
    assert tokens.method(CLAUDE).startswith("estimated")


def test_a_ratio_is_learned_for_each_model_from_what_its_provider_counted() -> None:
    ratios = Ratios()
    for _ in range(50):
        ratios.saw(CLAUDE, 400, 200)
    ratios.saw(CLAUDE, 0, 5)
    assert ratios.of(CLAUDE) == pytest.approx(2.0)
    assert ratios.of("anthropic/other") == BYTES_A_TOKEN
    assert count("x" * 100, CLAUDE, Ratios(ratios.to_json())) == 50


def test_a_ratio_follows_a_tokeniser_that_changed() -> None:
    ratios = Ratios()
    for _ in range(500):
        ratios.saw(CLAUDE, 400, 100)
    for _ in range(200):
        ratios.saw(CLAUDE, 400, 200)
    assert ratios.of(CLAUDE) == pytest.approx(2.0, rel=0.03)


@settings(deadline=None)  # the first one loads the vocabularies
@given(st.text(max_size=300))
def test_no_text_has_more_tokens_than_its_bound(text: str) -> None:
    whole = bound(text)
    assert whole >= count(text, GPT) + MESSAGE_OVERHEAD
    assert whole >= count(text, "openai/gpt-4") + MESSAGE_OVERHEAD
    assert whole >= count(text, CLAUDE) + MESSAGE_OVERHEAD


@given(st.lists(st.text(st.characters(codec=None), max_size=40), max_size=6), st.text(max_size=40))
def test_a_request_is_bounded_by_the_sum_of_its_parts(texts: list[str], tools: str) -> None:
    whole = bound_all(texts, tools)
    assert whole >= sum(count(text, GPT) + MESSAGE_OVERHEAD for text in texts) + count(tools, GPT)


def test_without_the_extra_counts_are_estimates_that_say_so() -> None:
    program = (
        "import sys; sys.modules['bpe_openai'] = None\n"
        "import importlib.util as u; found = u.find_spec\n"
        "from engine.models import tokens\n"
        "tokens.find_spec = lambda name: None\n"
        "assert tokens.count('x' * 330, 'openai/gpt-4o') == 100\n"
        "assert not tokens.exact('openai/gpt-4o')\n"
        "print(tokens.method('openai/gpt-4o'))\n"
    )
    said = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout
    assert "extra `context`" in said
