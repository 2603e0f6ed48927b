"""Model tasks that weigh: judge, vote."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Annotated

from pydantic import Field

from engine.plan.decorators import task
from engine.plan.tasktype import TaskContext
from tasks.asking import (
    Called,
    LongText,
    ModelId,
    Pieces,
    Question,
    Temperature,
    ask,
    messages_of,
    passages_of,
    total,
)


@dataclass(frozen=True, slots=True)
class Judged:
    """A score in [0, 1], whether it reaches ``at_least``, and the reason."""

    score: float
    passed: bool
    reason: str
    call: Called


@dataclass(frozen=True, slots=True)
class Voted:
    """What most answers chose, the share that did, all counts, and the answers in order."""

    choice: str
    agreement: float
    counts: dict[str, int]
    answers: list[str]
    call: Called


@task("llm.judge", effects="none", queue="io")
def judge(
    context: TaskContext,
    text: LongText,
    criterion: LongText = "It answers what is asked, and nothing in it is made up.",
    question: LongText = "",
    pieces: Pieces | None = None,
    at_least: Annotated[float, Field(ge=0, le=1)] = 0.7,
    model: ModelId | None = None,
) -> Judged:
    """Score a result.

    Parameters
    ----------
    text
        What is judged.
    criterion
        What a good result is like.
    question
        What had been asked.
    pieces
        What it was to be answered from: as of ``llm.complete``.
    at_least
        The score from which it passes.
    model
        As of ``llm.complete``; better another than the one that answered.

    Raises
    ------
    Permanent
        If there is no such model or key.

    Examples
    --------
    ::

        check:
          task: llm.judge
          with: {text: "{{ steps.answer.output.text }}", question: "{{ inputs.question }}"}
    """
    passages = passages_of(context, pieces)
    asked = f"What was asked:\n{question}\n\n" if question else ""
    put = messages_of(
        f"You judge a result by this criterion: {criterion} Be strict.",
        [*passages, {"text": text, "source": "the result"}],
        f"{asked}Score the result from 0 (useless) to 1 (fully meets the criterion), and say why in one sentence.",
        own=True,
    )
    schema = {
        "type": "object",
        "properties": {"score": {"type": "number", "minimum": 0, "maximum": 1}, "reason": {"type": "string"}},
        "required": ["score", "reason"],
        "additionalProperties": False,
    }
    facts = {"text": text, "criterion": criterion if question == "" else "", "question": question, "passages": passages}
    answer, call = ask(context, Question("judge", put, facts, 256, schema, "judge"), model)
    return Judged(answer.data["score"], answer.data["score"] >= at_least, answer.data["reason"], call)


@task("llm.vote", effects="none", queue="io")
def vote(
    context: TaskContext,
    question: LongText,
    choices: Annotated[list[str], Field(min_length=2, max_length=50)],
    pieces: Pieces | None = None,
    votes: Annotated[int, Field(ge=1, le=25)] = 3,
    models: list[ModelId] | None = None,
    temperature: Temperature = 0.7,
) -> Voted:
    """Ask several times, of one model or of many in turn, and take what most choose; ends once that is sure.

    Parameters
    ----------
    question
        What is asked.
    choices
        What may be chosen.
    pieces
        What to answer from: as of ``llm.complete``.
    votes
        How often to ask at most; about half as often for each tier that money has run short.
    models
        Models to ask in turn; else what the step's clauses lead to.
    temperature
        Above 0, so that votes may differ.

    Raises
    ------
    Permanent
        If there is no such model or key.

    Examples
    --------
    ::

        decide:
          task: llm.vote
          with: {question: "Is it safe?", choices: [safe, unsafe], pieces: ["{{ steps.diff.output.text }}"], votes: 5}
    """
    passages = passages_of(context, pieces)
    put = messages_of(f"Choose exactly one of: {', '.join(choices)}.", passages, question)
    schema = {
        "type": "object",
        "properties": {"choice": {"type": "string", "enum": choices}},
        "required": ["choice"],
        "additionalProperties": False,
    }
    text = "\n\n".join([*(each["text"] for each in passages), question])
    facts = {"text": text, "schema": schema}
    counts: Counter[str] = Counter()
    answers: list[str] = []
    calls: list[Called] = []
    if context.care.cheaper:
        votes = min(votes, votes // 2**context.care.cheaper | 1)  # odd, so that two choices cannot tie
    for nth in range(votes):
        context.check_cancelled()
        pinned = models[nth % len(models)] if models else None
        asked = Question("extract", put, facts, 256, schema, "vote", temperature, seed=nth)
        answer, call = ask(context, asked, pinned)
        answers.append(answer.data["choice"])
        counts[answers[-1]] += 1
        calls.append(call)
        first, second = (*counts.most_common(2), ("", 0))[:2]
        if first[1] > second[1] + votes - len(answers):  # those to come cannot change it
            break
    choice, most = counts.most_common(1)[0]
    return Voted(choice, most / len(answers), dict(counts), answers, total(calls))
