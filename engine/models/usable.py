"""Whether an answer can be used, and what to say of one that cannot. Pure.

A model that refuses, writes nothing, or breaks off before its data is whole has not answered: none of that is a result.
Thinking counts into what a model may write, at every provider, so that a model that thinks can use up all of it
before its first word; it is then asked again with ``THINKING_ROOM`` more.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from engine.costs.usage import Usage
from engine.models import structured
from engine.models.catalogue import Model
from engine.models.failures import InvalidAnswer, NoAnswer
from engine.models.providers.client import Reply
from engine.models.request import Request

THINKING_ROOM = 8192
"""Output tokens more for a model whose thinking left no room to answer."""

_REFUSED, _EMPTY = "it was refused", "it is empty"
_SHOWN = 300


def read(reply: Reply, schema: Mapping[str, Any] | None, most: int, *, local: bool) -> tuple[Any, list[str]]:
    """The data of an answer, and what is wrong with it, nothing if it can be used.

    Parameters
    ----------
    most
        Output tokens that were allowed.
    local
        Whether it is a local model's, which writes nothing where nothing is to be found.
    """
    if reply.finish == "filtered":
        return None, [_REFUSED]
    if reply.calls:
        return None, []
    if schema is None:
        return None, [] if reply.text.strip() or local else [_EMPTY]
    data, problems = structured.read(reply.text, schema)
    cut_off = reply.finish == "length" and problems
    return data, [*problems, f"it broke off at {most} tokens"] if cut_off else problems


def thought_too_long(reply: Reply, usage: Usage) -> bool:
    """Whether an answer that cannot be used broke off because thinking took up its room."""
    return reply.finish == "length" and (not reply.text.strip() or usage.reasoning > usage.output)


def room(model: Model, request: Request, input_tokens: int) -> int:
    """Output tokens with room to think, as far as the model goes; not less than ``request`` says."""
    most = min(request.max_output_tokens + THINKING_ROOM, model.output_tokens, model.context_tokens - input_tokens)
    return max(request.max_output_tokens, most)


def failure(model: Model, reply: Reply, usage: Usage, wrong: list[str], most: int) -> InvalidAnswer | NoAnswer:
    """What is raised for an answer that is given up."""
    if reply.finish == "filtered":
        said = f": {' '.join(reply.text.split())[:_SHOWN]}" if reply.text.strip() else ""
        return NoAnswer(f"{model.id} refused to answer{said}; change what is asked, or ask another model", reply.text)
    told = "; ".join(wrong)
    if reply.finish == "length":
        thought = f", {usage.reasoning:,} of them thinking" if usage.reasoning else ""
        return NoAnswer(
            f"{model.id} broke off at {most:,} output tokens{thought}, before its answer was whole: {told}; "
            "raise max_output_tokens",
            reply.text,
        )
    if wrong == [_EMPTY]:
        return InvalidAnswer(f"{model.id} gave an empty answer", reply.text)
    return InvalidAnswer(f"{model.id} did not meet the schema, twice: {told}", reply.text)
