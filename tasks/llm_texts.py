"""Model tasks that read a text: classify, summarise."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

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


@task("llm.classify", effects="none", queue="io")
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
    described = labels if isinstance(labels, dict) else dict.fromkeys(labels, "")
    if not described:
        raise Permanent("labels is empty: there is nothing to choose from")
    if otherwise is not None and otherwise not in described:
        raise Permanent(f"otherwise is {otherwise!r}, which is none of the labels")
    lines = "\n".join(f"- {name}: {what}" if what else f"- {name}" for name, what in described.items())
    fallback = f" What fits none is {otherwise}." if otherwise else ""
    put = messages_of(
        f"Classify the material under exactly one of these labels.{fallback} {instructions}\n{lines}",
        [{"text": text}],
        "Which label? Say also how sure you are, from 0 to 1, and why in a few words.",
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
    answer, call = ask(context, Question("classify", put, facts, 256, schema), model)
    return Classified(answer.data["label"], answer.data["confidence"], answer.data["reason"], call)


@task("llm.summarise", effects="none", queue="io")
def summarise(
    context: TaskContext,
    text: LongText | None = None,
    pieces: Pieces | None = None,
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
    if (text is None) == (pieces is None):
        raise Permanent("give either text or pieces")
    passages = passages_of(context, [text] if text is not None else pieces)
    whole = "\n\n".join(passage["text"] for passage in passages)
    about = f" Heed above all: {focus}." if focus else ""
    instructions = f"Summarise the material in at most {sentences} sentences, with its figures and names.{about}"

    def short(parts: list[dict[str, str]], body: str) -> tuple[str, Called]:
        facts = {"text": body, "question": focus, "sentences": sentences}
        put = messages_of(instructions, parts, "Write the summary.")
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
