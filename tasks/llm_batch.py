"""Model tasks for work that may take a day: hand many questions in at the batch price, collect the answers later.

Two tasks, so that nothing is held while the provider works: the second one asks how far it is, and ends with a time at
which to be tried again. The step needs ``retry`` for that: see docs/models.md.
"""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from hashlib import blake2b
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field

from engine.errors import Cancelled, Permanent, Retryable, TaskError, UsageError
from engine.plan.decorators import task
from engine.plan.tasktype import TaskContext
from tasks.asking import (
    PROMPT_VERSION,
    Called,
    LongText,
    ModelId,
    Question,
    Temperature,
    Tokens,
    ask,
    chosen,
    messages_of,
    total,
)

if TYPE_CHECKING:
    from engine.models.catalogue import Model

_DAY_S = 86_400.0
_AT_ONCE = 8
_LATER_SHARE = 0.05  # of a batch's age: who waited an hour asks again in three minutes
_LATEST_S = 900.0


@dataclass(frozen=True, slots=True)
class BatchAnswer:
    """What became of one item: its text, its data where a schema was given, or what was wrong."""

    text: str
    data: Any
    error: str = ""


@dataclass(frozen=True, slots=True)
class Submitted:
    """What ``llm.batch_collect`` takes; ``batch`` is the provider's id, empty where ``answers`` are there already."""

    batch: str
    node: str
    model: str
    items: int
    why: str
    schema: dict[str, Any] | None = None
    answers: list[BatchAnswer] | None = None
    call: Called | None = None


@dataclass(frozen=True, slots=True)
class Collected:
    """Answers in the order of the items, how many are errors, and how the batch ended (``direct`` without one)."""

    answers: list[BatchAnswer]
    failed: int
    state: str
    call: Called


@task("llm.batch_submit", effects="external", queue="io")
def batch_submit(
    context: TaskContext,
    items: Annotated[list[LongText], Field(min_length=1, max_length=50_000)],
    instructions: LongText = "Answer as briefly as the question allows.",
    schema: dict[str, Any] | None = None,
    model: ModelId | None = None,
    max_output_tokens: Tokens = 1024,
    temperature: Temperature | None = 0.0,
) -> Submitted:
    """Hand many texts to a provider's batch interface: half the price, within a day.

    Where that cannot be (the run's ``deadline`` is sooner, or the provider has no such interface), they are asked about
    the usual way, at once. Made once: an attempt that was lost after it handed the batch in finds it again.

    Parameters
    ----------
    items
        The texts, each asked about by itself.
    instructions
        What is to be done with each; the same for all.
    schema
        JSON Schema that each answer has to meet; there is no repair round in a batch.
    model, max_output_tokens, temperature
        As of ``llm.complete``. The budget holds back the ceiling of all items at the batch price.

    Raises
    ------
    Permanent
        If there is no such model or key, an item does not fit the model, or the provider refuses the batch.

    Examples
    --------
    ::

        submit:
          task: llm.batch_submit
          retry: {attempts: 5}
          with: {items: "{{ inputs.texts }}", instructions: "Translate into French.", model: openai/gpt-5.4-mini}
    """
    question = _question(instructions, items[0], schema, max_output_tokens, temperature)
    try:
        made = chosen(context, model, question).model
    except UsageError as error:
        raise Permanent(str(error)) from error
    if why := _why_not(context, made):
        answers, call = _asked_now(context, items, instructions, schema, max_output_tokens, temperature, made.id)
        context.log.info("asked about each item at once", why=why, items=len(items))
        return Submitted("", context.idempotency_key, made.id, len(items), why, schema, answers, call)
    from engine.models.batches import Batches
    from engine.models.request import Request

    requests = [
        Request(
            _question(instructions, item, schema, max_output_tokens, temperature).messages, made.id,
            min(max_output_tokens, made.output_tokens), temperature, schema, prompt_version=PROMPT_VERSION,
        )
        for item in items
    ]  # fmt: skip
    try:
        batch = context.service(Batches).submit(
            made, requests, batch_key(context, context.idempotency_key), again=context.attempt > 1
        )
    except UsageError as error:
        raise Permanent(str(error)) from error
    context.log.info("handed in a batch", batch=batch, model=made.id, items=len(items))
    return Submitted(batch, context.idempotency_key, made.id, len(items), "half the price, within a day", schema)


@task("llm.batch_collect", effects="idempotent", queue="io")
def batch_collect(
    context: TaskContext,
    batch: dict[str, Any],
    poll: Annotated[float, Field(gt=0, le=3600)] = 60.0,
) -> Collected:
    """Collect what ``llm.batch_submit`` handed in, once the provider is done with it.

    Until then the attempt ends with a time at which to be tried again, later the longer it has waited, up to a quarter
    of an hour: no slot is held. A day takes about 150 tries.

    Parameters
    ----------
    batch
        The output of ``llm.batch_submit``.
    poll
        Seconds until it is asked again, at first.

    Raises
    ------
    Retryable
        While the provider works on it.
    Permanent
        If the provider refused the batch as a whole, or it is another tenant's.

    Examples
    --------
    ::

        collect:
          task: llm.batch_collect
          retry: {attempts: 400, total: 26h}
          with: {batch: "{{ steps.submit.output }}"}
    """
    given = _given(batch)
    if given.answers is not None:
        answers = [BatchAnswer(**each) for each in batch["answers"]]
        call = Called(**batch["call"])
        return Collected(answers, sum(bool(each.error) for each in answers), "direct", call)
    from engine.costs.money import usd
    from engine.models.batches import Batches
    from engine.models.service import Models

    key = batch_key(context, given.node)
    try:
        model = context.service(Models).catalogue.model(given.model)
        service = context.service(Batches)
        if context.stop_requested():
            service.cancel(model, given.batch, key)
            raise Cancelled("told to stop: the batch is cancelled")
        known = service.state(model, given.batch, key)
        if known.state == "running":
            wait_s = min(_LATEST_S, max(poll, _LATER_SHARE * service.age_s(known)))
            context.report_progress(known.done / max(1, known.total))
            told = f"batch {given.batch} runs: {known.done} of {known.total} are done"
            raise Retryable(told, delay_s=wait_s)
        if known.state == "failed":
            service.collect(model, given.batch, key, given.items, given.schema, known.why or "the batch was refused")
            raise Permanent(f"{model.provider.name} refused batch {given.batch}: {known.why}")
        why = "" if known.state == "completed" else f"the batch {known.state} before it was answered"
        got = service.collect(model, given.batch, key, given.items, given.schema, why)
    except UsageError as error:
        raise Permanent(str(error)) from error
    answers = [BatchAnswer(each.text, each.data, each.error) for each in got.items]
    failed = sum(bool(each.error) for each in answers)
    context.log.info(
        "collected a batch", batch=given.batch, state=known.state, failed=failed, cost_usd=usd(got.cost_nusd),
        saved_usd=usd(got.saved_nusd),
    )  # fmt: skip
    call = Called(model.id, given.why, got.usage.input_total, got.usage.output_total, usd(got.cost_nusd))
    return Collected(answers, failed, known.state, call)


@task("llm.batch_cancel", effects="idempotent", queue="io")
def batch_cancel(context: TaskContext, batch: dict[str, Any]) -> str:
    """End a batch early; ``llm.batch_collect`` then has what was answered, and only that is paid.

    Parameters
    ----------
    batch
        The output of ``llm.batch_submit``.

    Raises
    ------
    Permanent
        If it is another tenant's.

    Examples
    --------
    ::

        enough:
          task: llm.batch_cancel
          with: {batch: "{{ steps.submit.output }}"}
    """
    given = _given(batch)
    if not given.batch:
        return "direct"
    from engine.models.batches import Batches
    from engine.models.service import Models

    try:
        model = context.service(Models).catalogue.model(given.model)
    except UsageError as error:
        raise Permanent(str(error)) from error
    context.service(Batches).cancel(model, given.batch, batch_key(context, given.node))
    return "cancelling"


def batch_key(context: TaskContext, node: str) -> str:
    """What a batch of a node is made under: nobody of another tenant comes to the same."""
    return blake2b(f"{context.tenant}\0{node}".encode(), digest_size=16).hexdigest()


def _given(batch: Mapping[str, Any]) -> Submitted:
    try:
        return Submitted(**batch)
    except TypeError as error:
        raise Permanent(f"batch is not the output of llm.batch_submit: {error}") from error


def _why_not(context: TaskContext, model: Model) -> str:
    """Why there is to be no batch; empty if there is."""
    deadline_s = context.care.deadline_s
    if not model.provider.batches:
        return f"{model.provider.name} has no batch interface"
    if deadline_s is not None and deadline_s < _DAY_S:
        return f"the run has {deadline_s / 3600:.3g} h, and a batch may take a day"
    return ""


def _question(
    instructions: str, item: str, schema: dict[str, Any] | None, tokens: int, temperature: float | None
) -> Question:
    put = messages_of(instructions, [{"text": item}], "Do this for the material.", own=True)
    facts = {"text": item, "question": instructions, "schema": schema}
    return Question("extract" if schema else "answer", put, facts, tokens, schema, temperature=temperature)


def _asked_now(
    context: TaskContext, items: list[str], instructions: str, schema: dict[str, Any] | None, tokens: int,
    temperature: float | None, model: str,
) -> tuple[list[BatchAnswer], Called]:  # fmt: skip
    """Each by a call of its own, a few at a time; what fails of one is that one's."""

    def one(item: str) -> tuple[BatchAnswer, Called | None]:
        context.check_cancelled()
        try:
            answer, call = ask(context, _question(instructions, item, schema, tokens, temperature), model)
        except Cancelled:
            raise
        except TaskError as error:
            return BatchAnswer("", None, str(error)), None
        return BatchAnswer(answer.text, answer.data), call

    with ThreadPoolExecutor(_AT_ONCE) as threads:
        done = list(threads.map(one, items))
    calls = [call for _, call in done if call is not None]
    return [answer for answer, _ in done], total(calls) if calls else Called(model, "", 0, 0, 0.0)
