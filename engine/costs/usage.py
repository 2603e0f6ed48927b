"""What a model call used, in one normal form, whoever provided it.

Providers count the same tokens in different ways: some put cached tokens inside the input and some beside
it, some put reasoning inside the output and some beside it. Here each token is in exactly one of six
counts, and every form is checked against the totals that the provider states. No prices here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import astuple, dataclass
from typing import Any

from engine.errors import FlywheelError

Raw = Mapping[str, Any]

COUNT_MAX = 10**9
"""No call has so many tokens. What claims more is broken, and its sums would not fit where they are counted."""


class UsageMismatch(FlywheelError):  # noqa: N818 - reads better without Error, as those of engine.errors do
    """A provider's counts contradict each other, so that no cost can be told from them."""


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens of one model call or of many; no token is counted twice.

    Parameters
    ----------
    input
        Input tokens that came from no cache and went to none.
    cache_read
        Input tokens read from the provider's prompt cache.
    cache_write_5m, cache_write_1h
        Input tokens written to it, to be kept for minutes or for an hour and more.
    output
        Tokens of the answer, without reasoning.
    reasoning
        Tokens the model spent on thinking; most providers bill them as output.
    """

    input: int = 0
    cache_read: int = 0
    cache_write_5m: int = 0
    cache_write_1h: int = 0
    output: int = 0
    reasoning: int = 0

    def __post_init__(self) -> None:
        if min(astuple(self)) < 0:
            raise UsageMismatch(f"a count is below zero: {self}")

    @property
    def input_total(self) -> int:
        """All tokens that went in."""
        return self.input + self.cache_read + self.cache_write_5m + self.cache_write_1h

    @property
    def output_total(self) -> int:
        """All tokens that came out."""
        return self.output + self.reasoning

    @property
    def total(self) -> int:
        """All tokens."""
        return self.input_total + self.output_total

    def __add__(self, other: Usage) -> Usage:
        return Usage(*map(sum, zip(self.to_json(), other.to_json(), strict=True)))

    def to_json(self) -> list[int]:
        """The six counts in the order of the fields."""
        return [self.input, self.cache_read, self.cache_write_5m, self.cache_write_1h, self.output, self.reasoning]

    @classmethod
    def from_json(cls, data: Sequence[int]) -> Usage:
        """What ``to_json`` gave."""
        return cls(*data)


def usage_of(form: str, raw: Raw) -> Usage:
    """The usage that a provider states, in the normal form.

    Parameters
    ----------
    form
        ``openai`` (chat completions and embeddings, as every compatible server gives it),
        ``openai-responses``, ``anthropic`` or ``google``.
    raw
        The answer's ``usage`` (``usageMetadata`` of Google), as JSON data.

    Raises
    ------
    UsageMismatch
        A count is missing or no whole number, or the counts do not sum to the provider's own totals.

    References
    ----------
    | https://developers.openai.com/api/docs/api-reference/chat/object
    | https://developers.openai.com/api/docs/api-reference/responses/object
    | https://platform.claude.com/docs/en/build-with-claude/prompt-caching#tracking-cache-performance
    | https://ai.google.dev/api/generate-content#UsageMetadata
    """
    if form not in _FORMS:
        raise ValueError(f"no form of usage {form!r}; there are {', '.join(_FORMS)}")
    return _FORMS[form](raw)


def _openai(raw: Raw) -> Usage:
    inputs, outputs = _count(raw, "prompt_tokens", required=True), _count(raw, "completion_tokens")
    into, out = _part(raw, "prompt_tokens_details"), _part(raw, "completion_tokens_details")
    read, written = _count(into, "cached_tokens"), _count(into, "cache_write_tokens")
    if "prompt_cache_hit_tokens" in raw:  # DeepSeek's own names
        read = _count(raw, "prompt_cache_hit_tokens")
        _agree(raw, "prompt_tokens", inputs, read + _count(raw, "prompt_cache_miss_tokens"))
    reasoning = _count(out, "reasoning_tokens")
    beside = _count(raw, "total_tokens") - inputs - outputs if raw.get("total_tokens") is not None else 0
    if beside == 0:
        return _split(raw, inputs, read, written, outputs, reasoning)
    # xAI puts reasoning beside the answer, and Gemini behind this form leaves it to the total to tell of it.
    if beside < 0 or reasoning not in (0, beside):
        _agree(raw, "total_tokens", _count(raw, "total_tokens"), inputs + outputs)
    return _split(raw, inputs, read, written, outputs + beside, beside)


def _openai_responses(raw: Raw) -> Usage:
    inputs, outputs = _count(raw, "input_tokens", required=True), _count(raw, "output_tokens", required=True)
    into = _part(raw, "input_tokens_details")
    _agree(raw, "total_tokens", _count(raw, "total_tokens", required=True), inputs + outputs)
    written = _count(into, "cache_write_tokens")
    kept = _part(into, "cache_write_tokens_details")
    long = _count(kept, "ttl_12h_tokens")
    if kept:
        _agree(raw, "cache_write_tokens", written, long + _count(kept, "ttl_30m_tokens"))
    reasoning = _count(_part(raw, "output_tokens_details"), "reasoning_tokens")
    return _split(raw, inputs, _count(into, "cached_tokens"), written, outputs, reasoning, long)


def _anthropic(raw: Raw) -> Usage:
    fresh, read = _count(raw, "input_tokens", required=True), _count(raw, "cache_read_input_tokens")
    written, kept = _count(raw, "cache_creation_input_tokens"), _part(raw, "cache_creation")
    long = _count(kept, "ephemeral_1h_input_tokens")
    if kept:
        _agree(raw, "cache_creation_input_tokens", written, long + _count(kept, "ephemeral_5m_input_tokens"))
    thinking = _count(_part(raw, "output_tokens_details"), "thinking_tokens")
    outputs = _count(raw, "output_tokens", required=True)
    return _split(raw, fresh + read + written, read, written, outputs, thinking, long)


def _google(raw: Raw) -> Usage:
    # Tokens of tools' results are input of the same call, counted beside the prompt; thoughts beside the answer.
    inputs = _count(raw, "promptTokenCount") + _count(raw, "toolUsePromptTokenCount")
    thoughts = _count(raw, "thoughtsTokenCount")
    outputs = _count(raw, "candidatesTokenCount") + thoughts
    _agree(raw, "totalTokenCount", _count(raw, "totalTokenCount", required=True), inputs + outputs)
    return _split(raw, inputs, _count(raw, "cachedContentTokenCount"), 0, outputs, thoughts)


_FORMS: Mapping[str, Callable[[Raw], Usage]] = {
    "openai": _openai,
    "openai-responses": _openai_responses,
    "anthropic": _anthropic,
    "google": _google,
}


def _split(raw: Raw, inputs: int, read: int, written: int, outputs: int, reasoning: int, long: int = 0) -> Usage:
    """Inclusive counts as exclusive ones; ``long`` of what was ``written`` is kept for long."""
    if read + written > inputs or reasoning > outputs or long > written:
        raise UsageMismatch(f"a part is greater than its whole in the provider's usage: {dict(raw)}")
    return Usage(inputs - read - written, read, written - long, long, outputs - reasoning, reasoning)


def _agree(raw: Raw, name: str, stated: int, summed: int) -> None:
    if stated != summed:
        raise UsageMismatch(f"{name} is stated as {stated}, its parts make {summed}: {dict(raw)}")


def _part(raw: Raw, name: str) -> Raw:
    part = raw.get(name)
    return part if isinstance(part, Mapping) else {}


def _count(raw: Raw, name: str, *, required: bool = False) -> int:
    value = raw.get(name)
    if value is None and not required:
        return 0
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= COUNT_MAX:
        raise UsageMismatch(f"{name} is {str(value)[:40]}, no count of tokens, in the provider's usage: {dict(raw)}")
    return value
