"""Nodes of a fan-out that share one invocation: begun together, called once, reported one by one.

A node whose arguments do not hold, or whose place in the answer is an exception, fails alone. The
seconds of the invocation are shared out evenly, so that what the nodes took sums up to what it took.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any
from uuid import uuid4

import orjson

from engine.costs.entry import Entry
from engine.costs.money import nusd
from engine.errors import Permanent, Unavailable
from engine.plan.binding import make_binding
from engine.plan.tasktype import TaskContext
from engine.runtime import faults
from engine.runtime.worker import body, outcomes
from engine.runtime.worker.attempt import BEGIN_PATIENCE_S, STOPPING, Attempt, Inputs, packed, prepare, uses_cache
from engine.runtime.worker.observer import Observer
from engine.runtime.worker.services import Services, insist
from engine.runtime.worker.starter import Starter
from engine.wire import Delivery, ErrorInfo, NodeCall, NodeReport, Outcome, real_item

_BYTES_A_TOKEN = 3.0
"""On the low side for text in any language, so that ``max_tokens`` is rather kept than not."""


def is_batch(services: Services, delivery: Delivery) -> bool:
    """Whether the nodes of a delivery share an invocation here."""
    if not delivery.care or delivery.care.get("batch") is None or delivery.task not in services.registry:
        return False
    return services.registry.get(delivery.task).many is not None


def run_batch(
    services: Services, delivery: Delivery, calls: Sequence[NodeCall], starter: Starter, inputs: Inputs,
    observer: Observer,
) -> Iterator[NodeReport | None]:  # fmt: skip
    """Run the nodes of a delivery; how each ended, or ``None`` for one that is no longer ours."""
    ready: list[Attempt] = []
    for call in calls:
        if services.shutdown.is_set():
            yield Attempt.at(services, delivery, call, starter).ended(Outcome.NOT_BEGUN, STOPPING)
            continue
        attempt = Attempt.at(services, delivery, call, starter)
        try:
            attempt.arguments = prepare(attempt, inputs)
        except Exception as error:  # noqa: BLE001 - its own arguments do not hold; the others' may
            yield attempt.ended(*outcomes.of_engine(error, services.masker))
        else:
            ready.append(attempt)
    if not ready or not uses_cache(ready[0], inputs):
        for group in _groups(ready):
            for _, ended in _run(services, delivery, group, starter, inputs, observer):
                yield ended
        return
    from engine.runtime.worker.batch_caching import Boundaries  # lazy: most steps keep nothing

    kept = Boundaries(inputs)
    yield from kept.enter(ready, wait=False)
    late = kept.late
    for group in _groups(kept.misses):
        for attempt, ended in _run(services, delivery, group, starter, inputs, observer):
            yield kept.leave(attempt, ended, len(group))
    for attempt in late:
        yield from kept.enter([attempt], wait=True)
        for _, ended in _run(services, delivery, kept.misses, starter, inputs, observer):
            yield kept.leave(attempt, ended, 1)


def _groups(attempts: Sequence[Attempt]) -> Iterator[list[Attempt]]:
    """The attempts in their order, in groups whose arguments keep to the batch's ``max_tokens``."""
    batch = attempts[0].context.care.batch if attempts else None
    most = batch.max_tokens if batch is not None else None
    if most is None:
        if attempts:
            yield list(attempts)
        return
    group: list[Attempt] = []
    held = 0.0
    for attempt in attempts:
        tokens = _tokens(attempt)
        if group and held + tokens > most:
            yield group
            group, held = [], 0.0
        group.append(attempt)
        held += tokens
    if group:
        yield group


def _tokens(attempt: Attempt) -> float:
    try:
        return len(orjson.dumps(_plain(attempt), default=str)) / _BYTES_A_TOKEN
    except (TypeError, orjson.JSONEncodeError):
        return 0.0


def _plain(attempt: Attempt) -> dict[str, Any]:
    """The arguments as a plan gives them: without the context."""
    return {name: value for name, value in (attempt.arguments or {}).items() if not isinstance(value, TaskContext)}


def _run(
    services: Services, delivery: Delivery, group: Sequence[Attempt], starter: Starter, inputs: Inputs,
    observer: Observer,
) -> Iterator[tuple[Attempt, NodeReport | None]]:  # fmt: skip
    begun: list[Attempt] = []
    if not group:
        return
    try:
        verdicts = _begin(delivery, group, starter)
    except Unavailable:
        for attempt in group:
            why = f"Redis was away when {attempt.context.node} was about to begin"
            yield attempt, attempt.ended(Outcome.NOT_BEGUN, ErrorInfo("NotBegun", why))
        return
    for attempt, allowed in zip(group, verdicts, strict=True):
        if allowed:
            begun.append(attempt)
        else:
            yield attempt, None
    if begun:
        yield from _called(services, begun, inputs, observer)


def _begin(delivery: Delivery, group: Sequence[Attempt], starter: Starter) -> list[bool]:
    verdicts: list[bool] = []
    items = [attempt.call.item for attempt in group]

    def claim_begin() -> None:
        verdicts[:] = starter.begin_together(delivery.step_no, items)

    insist(claim_begin, f"{len(items)} nodes of {delivery.path}", BEGIN_PATIENCE_S)
    return verdicts


def _called(
    services: Services, begun: Sequence[Attempt], inputs: Inputs, observer: Observer
) -> Iterator[tuple[Attempt, NodeReport]]:
    lead, masker = begun[0], services.masker
    started = services.clock.now()
    faults.point("begun")
    for attempt in begun:
        attempt.begun_at = started
        attempt.interruption = lead.interruption
    outcome: list[Any] | tuple[Outcome, ErrorInfo]
    try:
        with contextlib.ExitStack() as watched:
            for attempt in begun:
                watched.enter_context(observer.watching(attempt))
            calls = [_plain(attempt) for attempt in begun]
            if len(begun) > 1:
                lead.notes.share(calls, [(real_item(each.call.item), each.call.attempt) for each in begun])
            function, arguments = _invocation(inputs, lead, calls)
            timeout_s = lead.delivery.timeout_s
            results = body.call(function, arguments, timeout_s, lead.context.stop_requested, lead.interruption)
        outcome = _counted(results, begun, inputs)
    except BaseException as error:  # noqa: BLE001 - a body may raise SystemExit; the worker goes on
        if isinstance(error, body.Interrupted) and error.abandoned:
            services.recycle(f"{lead.context.node} of {lead.delivery.run_id} hangs in a thread")
        outcome = outcomes.of_body(error, masker, stopped=lead.stop())
    _note_shared(services, begun[1:])
    each_s = (services.clock.now() - started) / len(begun)
    for place, attempt in enumerate(begun):
        attempt.begun_at = started + place * each_s
        ended = attempt.ended(*outcome) if isinstance(outcome, tuple) else _ended(attempt, inputs, outcome[place])
        yield attempt, replace(ended, ended_at=attempt.begun_at + each_s)


def _note_shared(services: Services, others: Sequence[Attempt]) -> None:
    """Where a call has a price, the first node paid it for all: the others say that it cost them none."""
    for attempt in others:
        if price_usd := services.settings.call_usd.get(attempt.delivery.task):
            entry = Entry(
                uuid4().hex, "tool", attempt.delivery.task, purpose="batch", saved_nusd=nusd(price_usd),
                at=services.clock.now(), cache="shared",
            )  # fmt: skip
            attempt.notes.note("ledger", entry.to_json())


def _invocation(
    inputs: Inputs, lead: Attempt, calls: list[dict[str, Any]]
) -> tuple[Callable[..., Any], dict[str, Any]]:
    function = inputs.task_type.many
    assert function is not None
    name = _context_name(function)
    return function, {"calls": calls} | ({name: lead.context} if name else {})


@functools.cache
def _context_name(function: Callable[..., Any]) -> str | None:
    return make_binding(function, "many").context


def _counted(results: Any, begun: Sequence[Attempt], inputs: Inputs) -> list[Any]:
    if isinstance(results, str | bytes) or not isinstance(results, Sequence) or len(results) != len(begun):
        told = len(results) if isinstance(results, Sequence) else type(results).__name__
        raise Permanent(f"{inputs.task_type.name} gave {told} for {len(begun)} calls: one result each, in their order")
    return list(results)


def _ended(attempt: Attempt, inputs: Inputs, result: Any) -> NodeReport:
    masker = attempt.services.masker
    if isinstance(result, Exception):
        return attempt.ended(*outcomes.of_body(result, masker, stopped=attempt.stop()))
    try:
        return attempt.ended(Outcome.OK, result=packed(attempt, inputs, result))
    except Exception as error:  # noqa: BLE001 - a result that is no JSON, storage away
        return attempt.ended(*outcomes.of_engine(error, masker))
