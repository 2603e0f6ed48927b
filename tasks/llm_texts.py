"""Model tasks that read a text: classify, summarise."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
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
    Tokens,
    ask,
    chosen,
    messages_of,
    passages_of,
    total,
)
from tasks.llm_many import alone, in_groups, is_local, passing, together


@dataclass(frozen=True, slots=True)
class Classified:
    """The label, how sure the model says it is in [0, 1], and its reason."""

    label: str
    confidence: float
    reason: str
    call: Called


@dataclass(frozen=True, slots=True)
class Summarised:
    """A summary; ``parts`` is in how many parts the text was read."""

    text: str
    parts: int
    call: Called


_ALIKE = ("labels", "instructions", "otherwise", "model")


def classify_many(context: TaskContext, calls: list[dict[str, Any]]) -> list[Any]:
    """Texts that share their labels in one question."""
    return in_groups(calls, _ALIKE, lambda some: _classified(context, some))


def _classified(context: TaskContext, calls: Sequence[Mapping[str, Any]]) -> list[Any]:
    first = calls[0]
    model = first.get("model")
    if len(calls) == 1 or is_local(context, model):
        return alone(classify.task_type.function, context, calls)
    described = _described(first["labels"], first.get("otherwise"))
    form = {
        "type": "object",
        "properties": {
            "label": {"type": "string", "enum": list(described)},
            "confidence": {"type": "number", "minimum": 0, "maximum": 1},
        },
        "required": ["label", "confidence"],
    }
    instructions = _instructions(described, first.get("otherwise"), first.get("instructions") or "")
    told = f"{instructions}\nSay for each how sure you are, from 0 to 1."
    from engine.models.failures import NoAnswer

    try:
        given, call = together(context, told, [each["text"] for each in calls], form, 24, model)
    except NoAnswer:  # one text that it refuses, or that takes all its room, must not fail the others
        return alone(classify.task_type.function, context, calls)
    found = [
        said if isinstance(said, Exception) else Classified(said["label"], said["confidence"], "", call)
        for said in given
    ]
    return passing(context, calls, found, _label_of, classify.task_type.function)


def _label_of(result: Classified) -> dict[str, Any]:
    return {"label": result.label, "confidence": result.confidence}


@task("llm.classify", effects="none", queue="io", many=classify_many)
def classify(
    context: TaskContext,
    text: LongText,
    labels: dict[str, str] | list[str],
    instructions: LongText = "",
    otherwise: str | None = None,
    model: ModelId | None = None,
) -> Classified:
    """Give a text one of several labels.

    Parameters
    ----------
    text
        The text; at most 8 Mi characters.
    labels
        The labels, each with what belongs under it; a list if their names say enough.
    instructions
        What else to heed.
    otherwise
        The label for what fits none.
    model
        As of ``llm.complete``.

    Raises
    ------
    Permanent
        If there are no labels, or no such model or key.

    Examples
    --------
    ::

        sort:
          task: llm.classify
          for_each: "{{ steps.parse.output.rows }}"
          with:
            text: "{{ item.body }}"
            labels: {billing: payments and refunds, bug: something does not work, other: anything else}
    """
    described = _described(labels, otherwise)
    put = messages_of(
        _instructions(described, otherwise, instructions),
        [{"text": text}],
        "Which label? Say also how sure you are, from 0 to 1, and why in a few words.",
        own=True,
    )
    schema = {
        "type": "object",
        "properties": {
            "label": {"type": "string", "enum": list(described)},
            "confidence": {"type": "number", "minimum": 0, "maximum": 1},
            "reason": {"type": "string"},
        },
        "required": ["label", "confidence", "reason"],
        "additionalProperties": False,
    }
    facts = {"text": text, "labels": described, "otherwise": otherwise}
    answer, call = ask(context, Question("classify", put, facts, 256, schema), model, patient=True)
    return Classified(answer.data["label"], answer.data["confidence"], answer.data["reason"], call)


def _described(labels: dict[str, str] | list[str], otherwise: str | None) -> dict[str, str]:
    described = labels if isinstance(labels, dict) else dict.fromkeys(labels, "")
    if not described:
        raise Permanent("labels is empty: there is nothing to choose from")
    if otherwise is not None and otherwise not in described:
        raise Permanent(f"otherwise is {otherwise!r}, which is none of the labels")
    return described


def _instructions(described: Mapping[str, str], otherwise: str | None, further: str) -> str:
    lines = "\n".join(f"- {name}: {what}" if what else f"- {name}" for name, what in described.items())
    fallback = f" What fits none is {otherwise}." if otherwise else ""
    return f"Classify the material under exactly one of these labels.{fallback} {further}\n{lines}"


@task("llm.summarise", effects="none", queue="io")
def summarise(
    context: TaskContext,
    text: LongText | None = None,
    pieces: Pieces | None = None,
    files: list[str] | None = None,
    focus: str = "",
    sentences: Annotated[int, Field(ge=1, le=100)] = 5,
    model: ModelId | None = None,
    max_output_tokens: Tokens = 1024,
) -> Summarised:
    """Say in short what a text says; one that a model cannot take at once is read in parts.

    Parameters
    ----------
    text
        The text; at most 8 Mi characters.
    pieces
        Several, instead: as of ``llm.complete``.
    files
        Files, instead or besides ``pieces``, below ``file_roots``.
    focus
        What the summary is to be about; empty for what the text is about.
    sentences
        How many sentences it may have, about.
    model, max_output_tokens
        As of ``llm.complete``.

    Raises
    ------
    Permanent
        If there is no such model or key.

    Examples
    --------
    ::

        short:
          task: llm.summarise
          with: {text: "{{ steps.read.output.content }}", sentences: 3, focus: "what changed"}
    """
    if (text is None) == (pieces is None and files is None):
        raise Permanent("give either text, or pieces and files")
    passages = passages_of(context, [text] if text is not None else pieces, files)
    whole = "\n\n".join(passage["text"] for passage in passages)
    about = f" Heed above all: {focus}." if focus else ""
    instructions = f"Summarise the material in at most {sentences} sentences, with its figures and names.{about}"

    def short(parts: list[dict[str, str]], body: str) -> tuple[str, Called]:
        facts = {"text": body, "question": focus, "sentences": sentences}
        put = messages_of(instructions, parts, "Write the summary.", own=True)
        answer, call = ask(context, Question("summarise", put, facts, max_output_tokens, purpose="summary"), model)
        return answer.text, call

    room = _room(context, model, instructions, max_output_tokens)
    if len(whole.encode()) <= room:
        said, call = short(passages, whole)
        return Summarised(said, 1, call)
    parts, calls = _parts(whole, room), []
    told = []
    for done, part in enumerate(parts):
        context.check_cancelled()
        said, call = short([{"text": part}], part)
        told.append(said)
        calls.append(call)
        context.report_progress((done + 1) / (len(parts) + 1))
    body = "\n\n".join(told)
    said, call = short([{"text": body}], body)
    return Summarised(said, len(parts), total([*calls, call]))


def _room(context: TaskContext, model: str | None, instructions: str, max_output_tokens: int) -> int:
    """UTF-8 bytes of material that surely fit the model: a token has at least one."""
    from engine.models.request import Message

    question = Question("summarise", (Message("user", instructions),), {}, max_output_tokens)
    try:
        chosen_model = chosen(context, model, question).model
    except UsageError as error:
        raise Permanent(str(error)) from error
    return max(2000, chosen_model.context_tokens - max_output_tokens - len(instructions.encode()) - 1000)


def _parts(text: str, room: int) -> list[str]:
    """``text`` cut between paragraphs, else lines, else anywhere, into parts of at most ``room`` bytes."""
    parts: list[str] = []
    held: list[str] = []
    size = 0
    for line in text.splitlines(keepends=True):
        for at in range(0, len(line), max(1, room // 4)):
            some = line[at : at + max(1, room // 4)]
            if size + len(some.encode()) > room and held:
                parts.append("".join(held))
                held, size = [], 0
            held.append(some)
            size += len(some.encode())
    return [*parts, "".join(held)] if held else parts
