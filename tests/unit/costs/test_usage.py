"""Usage of every provider in the normal form, and refusals of counts that contradict each other."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from engine.costs.usage import Usage, UsageMismatch, usage_of

_FIXTURES = sorted((Path(__file__).parents[2] / "fixtures" / "usage").glob("*.json"))


@pytest.mark.parametrize("path", _FIXTURES, ids=lambda path: path.stem)
def test_a_documented_answer_has_its_normal_form_and_the_provider_s_total(path: Path) -> None:
    recorded = json.loads(path.read_text())
    usage = usage_of(recorded["form"], recorded["usage"])
    assert usage.to_json() == recorded["normal"]
    assert usage.total == recorded["total"]


def test_there_is_a_fixture_of_every_form() -> None:
    forms = {json.loads(path.read_text())["form"] for path in _FIXTURES}
    assert forms == {"openai", "openai-responses", "anthropic", "google"}


@pytest.mark.parametrize(
    ("form", "raw"),
    [
        ("openai", {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 14}),
        ("openai", {"completion_tokens": 5, "total_tokens": 5}),
        ("openai", {"prompt_tokens": 10, "prompt_tokens_details": {"cached_tokens": 11}}),
        ("openai", {"prompt_tokens": 10.5}),
        ("openai", {"prompt_tokens": True}),
        ("openai", {"prompt_tokens": 10**30, "total_tokens": 10**30}),
        ("openai", {"prompt_tokens": 10, "prompt_cache_hit_tokens": 6, "prompt_cache_miss_tokens": 5}),
        (
            "openai",
            {
                "prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 9,
                "completion_tokens_details": {"reasoning_tokens": 2},
            },
        ),
        ("openai-responses", {"input_tokens": 3, "output_tokens": 4, "total_tokens": 8}),
        ("openai-responses", {"input_tokens": 3, "output_tokens": 4}),
        ("anthropic", {"input_tokens": 3}),
        (
            "anthropic",
            {
                "input_tokens": 3, "output_tokens": 1, "cache_creation_input_tokens": 9,
                "cache_creation": {"ephemeral_5m_input_tokens": 1, "ephemeral_1h_input_tokens": 1},
            },
        ),
        ("anthropic", {"input_tokens": 3, "output_tokens": 1, "output_tokens_details": {"thinking_tokens": 2}}),
        ("google", {"promptTokenCount": 5, "candidatesTokenCount": 1, "totalTokenCount": 7}),
        ("google", {"promptTokenCount": 5, "candidatesTokenCount": 1}),
    ],
)  # fmt: skip
def test_counts_that_contradict_each_other_are_refused(form: str, raw: dict[str, object]) -> None:
    with pytest.raises(UsageMismatch):
        usage_of(form, raw)


def test_a_form_that_is_not_known_is_named() -> None:
    with pytest.raises(ValueError, match="cohere"):
        usage_of("cohere", {})


def test_usages_add_up_kind_by_kind() -> None:
    total = Usage(1, 2, 3, 4, 5, 6) + Usage(10, 20, 30, 40, 50, 60)
    assert total == Usage(11, 22, 33, 44, 55, 66)
    assert (total.input_total, total.output_total, total.total) == (110, 121, 231)
    assert Usage.from_json(total.to_json()) == total


def test_no_count_is_below_zero() -> None:
    with pytest.raises(UsageMismatch):
        Usage(input=-1)
