"""One attempt at one node, from its inputs to what is reported of it.

Reads from top to bottom as an attempt runs: prepare, ask, begin, body, dump, pack. Whatever happens
on the way ends as a ``NodeReport``, or as nothing at all if the node is no longer ours.
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import orjson
from pydantic import BaseModel

from engine.artefacts.values import pack_text, unpack
from engine.errors import Permanent, Unavailable
from engine.plan.binding import bind, dump
from engine.plan.tasktype import Effects, TaskContext
from engine.plan.templates import render
from engine.runtime import faults
from engine.runtime.worker import body, outcomes
from engine.runtime.worker.ahead import ReadAhead
from engine.runtime.worker.context import Progress, make_context
from engine.runtime.worker.loglines import LogLines
from engine.runtime.worker.notes import Notes
from engine.runtime.worker.observer import Observer
from engine.runtime.worker.secrets import resolve
from engine.runtime.worker.services import Services, insist
from engine.runtime.worker.starter import Starter
from engine.runtime.worker.stops import StopFlag
from engine.wire import (
    INLINE_LIMIT_BYTES,
    Delivery,
    ErrorInfo,
    NodeCall,
    NodeReport,
    Outcome,
    Report,
    ReportKind,
    Try,
)

BEGIN_PATIENCE_S = 5.0
_GRANT_LOOK_S = 1.0
STOPPING = ErrorInfo("NotBegun", "its worker was told to stop before the body began")


class NotOurs(Exception):  # noqa: N818 - no error: the scheduler took the node back
    """The node's permit is gone or another's; nothing is reported."""


class NotBegun(Exception):  # noqa: N818 - as above
    """The body certainly never began."""


@dataclass(slots=True)
class Attempt:
    """All that is known of one attempt while it runs."""

    services: Services
    delivery: Delivery
    call: NodeCall
    starter: Starter
    log: LogLines
    stop: StopFlag
    progress: Progress
    ahead: ReadAhead
    context: TaskContext
    notes: Notes
    interruption: body.Interruption = field(default_factory=body.Interruption)
    arguments: dict[str, Any] | None = None  # where they were prepared ahead
    begun_at: float | None = None
    tries: list[Try] = field(default_factory=list)

    @classmethod
    def at(cls, services: Services, delivery: Delivery, call: NodeCall, starter: Starter) -> Attempt:
        """The attempt at one node of a delivery."""
        log, stop, progress = LogLines(services.masker), StopFlag(services, delivery.token), Progress()
        notes = Notes(services.masker, log.warning)
        ahead = ReadAhead(services, delivery)
        context = make_context(services, delivery, call, log, stop, progress, ahead, notes)
        return cls(services, delivery, call, starter, log, stop, progress, ahead, context, notes)

    def ended(self, outcome: Outcome, error: ErrorInfo | None = None, result: str | None = None) -> NodeReport:
        """What is reported."""
        return NodeReport(
            self.call.item,
            self.call.attempt,
            outcome,
            result,
            error,
            tuple(self.tries),
            self.begun_at,
            self.services.clock.now(),
            self.log.rest(),
            self.progress.share,
            prefetched=self.ahead.used,
            notes=self.notes.rest(),
        )


def run_attempt(attempt: Attempt, inputs: Inputs, observer: Observer) -> NodeReport | None:
    """Run one attempt, unless its result is kept; ``None`` if the node is no longer ours."""
    masker, boundary = attempt.services.masker, None
    ended: NodeReport | None
    try:
        arguments = prepare(attempt, inputs) if attempt.arguments is None else attempt.arguments
        if uses_cache(attempt, inputs):
            from engine.runtime.worker.caching import boundary_of  # lazy: most steps keep nothing

            entered = boundary_of(attempt, inputs, arguments)
            served = entered.enter()
            if served is not None:
                return served
            boundary, arguments = entered, entered.arguments
        if attempt.delivery.effects == Effects.EXTERNAL:
            ask(attempt)
        again = True
        while again:
            if attempt.begun_at is None or attempt.tries:
                begin(attempt)
            try:
                with observer.watching(attempt):
                    result = body.call(
                        inputs.function,
                        arguments,
                        attempt.delivery.timeout_s,
                        attempt.context.stop_requested,
                        attempt.interruption,
                    )
            except BaseException as error:  # noqa: BLE001 - a body may raise SystemExit; the worker goes on
                if isinstance(error, body.Interrupted) and error.abandoned:
                    attempt.services.recycle(f"{attempt.context.node} of {attempt.delivery.run_id} hangs in a thread")
                outcome, info = outcomes.of_body(error, masker, stopped=attempt.stop())
                again = wait_for_next_try(attempt, outcome, info)
                if again:
                    arguments = for_next_try(attempt, arguments)
                else:
                    ended = attempt.ended(outcome, info)
            else:
                again, ended = False, attempt.ended(Outcome.OK, result=packed(attempt, inputs, result))
    except NotOurs:
        ended = None
    except NotBegun as error:
        ended = attempt.ended(Outcome.NOT_BEGUN, ErrorInfo("NotBegun", str(error)))
    except Exception as error:  # noqa: BLE001 - inputs that do not fit, a result that is no JSON, storage away
        ended = attempt.ended(*outcomes.of_engine(error, masker))
    return ended if boundary is None else boundary.leave(ended)


def uses_cache(attempt: Attempt, inputs: Inputs) -> bool:
    """Whether its step or task type says that results are kept, or become stale."""
    care, kind = attempt.context.care, inputs.task_type
    kept = care.caching is not False and (care.caching is not None or kind.cache is not None)
    return bool(kept or care.invalidates or kind.invalidates)


def for_next_try(attempt: Attempt, arguments: dict[str, Any]) -> dict[str, Any]:
    """The arguments, with a context that counts the tries this worker has made."""
    attempt.context = replace(attempt.context, attempt=attempt.call.attempt + len(attempt.tries))
    return {name: attempt.context if isinstance(value, TaskContext) else value for name, value in arguments.items()}


class Inputs:
    """What the nodes of a delivery share: the task type, its arguments as written, what they refer to."""

    def __init__(self, services: Services, delivery: Delivery) -> None:
        self.task_type = services.registry.get(delivery.task)
        self.function = self.task_type.function
        self.written: Any = unpack(delivery.with_, services.artefacts)
        self.environment: dict[str, Any] = unpack(delivery.shared, services.artefacts)


def shared_inputs(services: Services, delivery: Delivery) -> Inputs | Exception:
    """What the nodes share, or why it cannot be had: then that is the outcome of each of them."""
    try:
        return Inputs(services, delivery)
    except Exception as error:  # noqa: BLE001 - whatever it is, it is reported
        return error


def prepare(attempt: Attempt, inputs: Inputs) -> dict[str, Any]:
    """The body's arguments: templates rendered, secrets resolved, all of it validated."""
    own = attempt.call.own
    environment = inputs.environment if own is None else inputs.environment | unpack(own, attempt.services.artefacts)
    rendered = render(inputs.written, environment)
    return bind(inputs.task_type, resolve(inputs.written, rendered, attempt.context.secret), attempt.context)


def ask(attempt: Attempt) -> None:
    """Wait until the scheduler has stored that an ``external`` body may have begun, and says so."""
    delivery, services = attempt.delivery, attempt.services
    mark = NodeReport(attempt.call.item, attempt.call.attempt, Outcome.NOT_BEGUN, begun_at=services.clock.now())
    asking = Report(ReportKind.BEGIN, delivery.token, delivery.run_id, delivery.step_no, services.name, (mark,))
    try:
        insist(lambda: services.hot.append(delivery.shard, asking), attempt.context.node, BEGIN_PATIENCE_S)
        granted = _grant(services, delivery.token)
    except Unavailable as error:
        raise NotBegun(f"Redis was away when {attempt.context.node} asked to begin") from error
    if not granted:
        raise NotBegun(f"{attempt.context.node} was not given leave to begin")


def _grant(services: Services, token: str) -> bool:
    """The scheduler's answer; no answer in time, or before the worker stops, is a refusal."""
    over = time.monotonic() + services.settings.grant_timeout_s
    granted = None
    while granted is None and not services.shutdown.is_set() and (left_s := over - time.monotonic()) > 0:
        granted = services.hot.wait_for_grant(token, min(left_s, _GRANT_LOOK_S))
    return bool(granted)


def begin(attempt: Attempt) -> None:
    """The last word before the body. ``NotOurs`` if the permit is gone."""
    delivery = attempt.delivery
    allowed = False

    def claim_begin() -> None:
        nonlocal allowed
        allowed = attempt.starter.begin(delivery.step_no, attempt.call.item, again=bool(attempt.tries))

    try:
        insist(claim_begin, attempt.context.node, BEGIN_PATIENCE_S)
    except Unavailable as error:
        raise NotBegun(f"Redis was away when {attempt.context.node} was about to begin") from error
    if not allowed:
        raise NotOurs
    attempt.begun_at = attempt.services.clock.now()
    faults.point("begun")


def wait_for_next_try(attempt: Attempt, outcome: Outcome, error: ErrorInfo) -> bool:
    """Whether the body is to be tried again here; waits for that time. ``False`` leaves it to the scheduler."""
    rule, made = attempt.delivery.retry, len(attempt.tries)
    if rule is None or outcome is not Outcome.FAILED or error.retryable is False or made >= len(rule.waits_s):
        return False
    if rule.on is not None and error.type not in rule.on:
        return False
    wait_s = rule.waits_s[made] if error.delay_s is None else error.delay_s
    if attempt.delivery.effects == Effects.EXTERNAL or wait_s > rule.max_wait_s:
        return False
    ended_at = attempt.services.clock.now()
    over = time.monotonic() + wait_s
    while (left_s := over - time.monotonic()) > 0:
        if attempt.services.shutdown.is_set() or attempt.stop():
            return False
        time.sleep(min(left_s, 0.05))
    attempt.tries.append(Try(error, attempt.begun_at or ended_at, ended_at))
    return True


def packed(attempt: Attempt, inputs: Inputs, result: Any) -> str:
    """The result as a value's JSON text: inline if it is small, an artefact if it is not."""
    try:
        text = orjson.dumps(dump(inputs.task_type, result))
    except (orjson.JSONEncodeError, RecursionError) as error:
        raise Permanent(f"the result of {inputs.task_type.name} is not JSON data: {error}") from error
    # JSON has no NaN and serialisers write null for it; only a text with a null can hide one.
    if b"null" in text and _has_nan(result):
        raise Permanent(f"the result of {inputs.task_type.name} holds NaN or infinity, which JSON cannot say")
    limit = attempt.services.settings.result_limit_bytes
    if len(text) > limit:
        raise Permanent(
            f"the result of {inputs.task_type.name} is {len(text):,} bytes of JSON and may be {limit:,} "
            "(FLYWHEEL_RESULT_LIMIT_BYTES): write such data to a file and return its name"
        )
    if len(text) <= INLINE_LIMIT_BYTES:
        return f'{{"v":{text.decode()}}}'
    return orjson.dumps(pack_text(text, attempt.services.artefacts)).decode()


def _has_nan(result: Any) -> bool:
    stack = [result]
    while stack:
        part = stack.pop()
        if isinstance(part, float):
            if not math.isfinite(part):
                return True
        elif isinstance(part, Mapping):
            stack.extend(part.values())
        elif isinstance(part, list | tuple | set | frozenset):
            stack.extend(part)
        elif isinstance(part, BaseModel):
            stack.extend(vars(part).values())
    return False
