"""Model tasks that give text or data: complete, extract, embed. Others are in ``llm_texts`` and ``llm_verdicts``.

A call changes nothing outside, so each may be repeated, hedged and speculated; what it costs is the budget's. Which
model answers is said by the step (``model``, ``needs``, ``quality``) or the argument ``model``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Any

from pydantic import Field

from engine.errors import Permanent, UsageError
from engine.plan.decorators import task
from engine.plan.tasktype import TaskContext
from tasks.asking import (
    Called,
    LongText,
    ModelId,
    Pieces,
    Question,
    Temperature,
    Tokens,
    ask,
    chosen,
    messages_of,
    passages_of,
)
from tasks.conversations import conversation_of, fitted
from tasks.llm_many import alone, in_groups, is_local, passing, together
from tasks.made_from import of_files


@dataclass(frozen=True, slots=True)
class Completed:
    """What a model wrote; ``data`` where a schema was given; ``masked`` is how many tool results were left out."""

    text: str
    data: Any
    call: Called
    masked: int = 0


@dataclass(frozen=True, slots=True)
class Extracted:
    """Data that meets the schema."""

    data: Any
    call: Called


@dataclass(frozen=True, slots=True)
class Embedded:
    """Vectors in the order of the texts."""

    vectors: list[list[float]]
    dimensions: int
    model: str


_ROOM = 0.95
"""Of a model's context: counts of models whose vocabulary is not public are a few percent off."""


@task("llm.complete", effects="none", queue="io", reads=of_files)
def complete(
    context: TaskContext,
    prompt: LongText | None = None,
    system: LongText = "Answer as briefly as the question allows.",
    pieces: Pieces | None = None,
    files: list[str] | None = None,
    messages: list[dict[str, Any]] | None = None,
    schema: dict[str, Any] | None = None,
    model: ModelId | None = None,
    max_output_tokens: Tokens = 1024,
    temperature: Temperature | None = 0.0,
    wider: list[Pieces] | None = None,
    max_context_tokens: Annotated[int, Field(ge=100, le=10_000_000)] | None = None,
) -> Completed:
    """Put a question to a model.

    Parameters
    ----------
    prompt
        What is asked; at most 8 Mi characters.
    system
        Instructions that stay the same for many nodes; they come first, so that providers keep them warm.
    pieces
        What to answer from: texts, or ``{text, source}``.
    files
        Files to answer from, below ``file_roots``.
    messages
        A whole conversation, ``{role, text}``, instead of ``prompt``, ``system``, ``pieces`` and ``files``; with
        ``calls`` (``{id, name, arguments}``) of an assistant, and ``role: tool`` with ``call_id`` for what a tool gave.
    schema
        JSON Schema that the answer has to meet; it is then in ``data``. Repaired once if it does not.
    model
        The model, ``provider/name``; else what the step's clauses lead to.
    max_output_tokens
        Tokens that it may write, thinking included. What a budget holds back follows from it.
    temperature
        0 for the likeliest answer. Models that take none are not given one.
    wider
        More pieces, a list for each time that a check says that context was wanting.
    max_context_tokens
        Tokens that ``messages`` may take; what the model takes by default. Old tool results are left out beyond it.

    Raises
    ------
    Permanent
        If there is no such model or key, the text does not fit the model, or no answer passes the step's checks.
    Retryable
        If the provider stays busy or away, or its data does not meet the schema twice.

    Examples
    --------
    ::

        answer:
          task: llm.complete
          with: {prompt: "{{ inputs.question }}", pieces: ["{{ steps.read.output.content }}"]}
    """
    if (prompt is None) == (messages is None):
        raise Permanent("give either prompt or messages")
    masked = 0
    if messages is not None:
        put = conversation_of(messages)
        question = Question("", put, {}, max_output_tokens, schema, temperature=temperature)
        if any(message.role == "tool" for message in put):
            reader = chosen(context, model, question).model
            room = int(reader.context_tokens * _ROOM) - min(max_output_tokens, reader.output_tokens)
            put, masked = fitted(context, put, reader.id, room, max_context_tokens)
            question = replace(question, messages=put)
    else:
        groups = [passages_of(context, pieces, files), *(passages_of(context, more) for more in wider or ())]
        asked = Question("", (), {}, max_output_tokens, schema, temperature=temperature)
        question = _over(asked, prompt or "", system, groups)
    # Results of tools are left out as far as the model's room goes: another model would be asked another question.
    answer, call = ask(context, question, model, patient=all(each.role != "tool" for each in question.messages))
    return Completed(answer.text, answer.data, call, masked)


def _over(asked: Question, prompt: str, system: str, groups: Sequence[Sequence[Mapping[str, str]]]) -> Question:
    """The question over the first group of passages, and over one more each time that it is widened."""
    passages = [dict(each) for each in groups[0]]
    text = "\n\n".join([*(each["text"] for each in passages), prompt]) if asked.schema else prompt
    facts = {"question": prompt, "passages": passages, "text": text, "schema": asked.schema}
    kind = "extract" if asked.schema else "answer" if passages else ""

    def widened() -> Question | None:
        if len(groups) == 1:
            return None
        return _over(asked, prompt, system, [[*groups[0], *groups[1]], *groups[2:]])

    return replace(asked, kind=kind, messages=messages_of(system, passages, prompt), facts=facts, wider=widened)


def extract_many(context: TaskContext, calls: list[dict[str, Any]]) -> list[Any]:
    """Texts that share their schema in one question."""
    return in_groups(calls, ("schema", "instructions", "model", "max_output_tokens"), lambda some: _read(context, some))


def _read(context: TaskContext, calls: Sequence[Mapping[str, Any]]) -> list[Any]:
    first = calls[0]
    model = first.get("model")
    if len(calls) == 1 or is_local(context, model):
        return alone(extract.task_type.function, context, calls)
    told = f"{_EXTRACT} {first.get('instructions') or ''}"
    texts, tokens = [each["text"] for each in calls], first.get("max_output_tokens") or 512
    from engine.models.failures import NoAnswer

    try:
        given, call = together(context, told, texts, first["schema"], min(tokens, 512), model)
    except NoAnswer:  # one text that it refuses, or that takes all its room, must not fail the others
        return alone(extract.task_type.function, context, calls)
    found = [said if isinstance(said, Exception) else Extracted(said, call) for said in given]
    return passing(context, calls, found, lambda result: result.data, extract.task_type.function)


_EXTRACT = "Extract the data that is asked for from the material. Leave out or null what it does not say."


@task("llm.extract", effects="none", queue="io", many=extract_many)
def extract(
    context: TaskContext,
    text: LongText,
    schema: dict[str, Any],
    instructions: LongText = "",
    model: ModelId | None = None,
    max_output_tokens: Tokens = 2048,
) -> Extracted:
    """Read data of a given form out of a text.

    Parameters
    ----------
    text
        The text; at most 8 Mi characters.
    schema
        JSON Schema of the data. Names and descriptions of its fields say what to look for.
    instructions
        What else to heed.
    model, max_output_tokens
        As of ``llm.complete``.

    Raises
    ------
    Permanent
        If the schema is none, or there is no such model or key.
    Retryable
        If the data does not meet the schema twice, or the provider stays busy or away.

    Examples
    --------
    ::

        invoice:
          task: llm.extract
          with:
            text: "{{ steps.read.output.content }}"
            schema: {type: object, properties: {total: {type: number}, due_date: {type: string, format: date}}}
    """
    put = messages_of(
        f"{_EXTRACT} {instructions}",
        [{"text": text}],
        "Extract the data.",
        own=True,
    )
    facts = {"text": text, "schema": schema}
    answer, call = ask(context, Question("extract", put, facts, max_output_tokens, schema), model, patient=True)
    return Extracted(answer.data, call)


@task("llm.embed", effects="none", queue="io")
def embed(
    context: TaskContext,
    texts: Annotated[list[LongText], Field(max_length=10_000)],
    model: ModelId | None = None,
) -> Embedded:
    """Turn texts into vectors, near for texts that are alike.

    Parameters
    ----------
    texts
        The texts; at most 10,000.
    model
        A model that embeds; else the cheapest that has a key. ``local/extractive`` knows words, not meanings.

    Raises
    ------
    Permanent
        If the model embeds no texts, or there is no such model or key.

    Examples
    --------
    ::

        vectors:
          task: llm.embed
          with: {texts: "{{ steps.split.output.parts }}"}
    """
    from engine.models.service import Models

    try:
        choice = chosen(context, model)
        vectors = context.service(Models).embed(texts, choice.model.id)
    except UsageError as error:
        raise Permanent(str(error)) from error
    return Embedded(vectors, len(vectors[0]) if vectors else 0, choice.model.id)
