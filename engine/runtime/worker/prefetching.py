"""Reading ahead of a body, in a delivery of its own: begin, read, hand over.

Nothing it does decides anything: what fails here is done, and told, by the body. A function that hangs
on a thread is left to itself; a process that has a few of those reads nothing ahead any more.
"""

from __future__ import annotations

import logging
import threading
import time
from typing import Any

import orjson

from engine.artefacts.values import pack_text, unpack
from engine.errors import Permanent, Unavailable
from engine.plan.binding import bind, dump
from engine.plan.templates import render
from engine.runtime.worker import body
from engine.runtime.worker.context import Progress, make_context
from engine.runtime.worker.loglines import LogLines
from engine.runtime.worker.secrets import resolve
from engine.runtime.worker.services import Services
from engine.runtime.worker.stops import POLL_S
from engine.wire import Delivery, ErrorInfo, NodeReport, Outcome, Prefetch, Prefetched, Report, ReportKind

_LOG = logging.getLogger(__name__)
_HANGING_MOST = 4
_WATCH_S = 0.25

_hanging: list[threading.Thread] = []


class Unwanted:
    """Whether nobody wants any more what is being read: asks Redis at most every ``POLL_S``."""

    def __init__(self, services: Services, delivery: Delivery) -> None:
        self._hot, self._delivery = services.hot.prefetches, delivery
        self._next = 0.0
        self._unwanted = False

    def __call__(self) -> bool:
        now = time.monotonic()
        if not self._unwanted and now >= self._next:
            self._next = now + POLL_S
            it = self._delivery
            try:
                self._unwanted = not self._hot.wanted(it.run_id, it.step_no, it.token)
            except Unavailable:  # then nobody will be handed anything either, but that is found out at the end
                return False
        return self._unwanted


def read_ahead(services: Services, delivery: Delivery, limits: Prefetch) -> None:
    """Run what the task type reads ahead with, and hand over what it brings. Raises nothing."""
    try:
        if services.shutdown.is_set():
            return
        if not services.hot.prefetches.begin(
            delivery.run_id, delivery.step_no, delivery.token, delivery.epoch, services.name
        ):
            return  # its body was faster, or its run is over
        begun_at, started = services.clock.now(), time.monotonic()
        text, why = _read(services, delivery, limits)
        seconds = time.monotonic() - started
        _hand_over(services, delivery, limits, text, why, begun_at, seconds)
    except Exception as error:  # noqa: BLE001 - the body finds nothing, and reads itself
        _LOG.info("nothing was read ahead for %s of %s: %s", delivery.path, delivery.run_id, type(error).__name__)


def _hand_over(
    services: Services, delivery: Delivery, limits: Prefetch, text: bytes, why: str, begun_at: float, seconds: float
) -> None:
    left_s = limits.fresh_s - seconds
    if not why and left_s <= 0:
        text, why = b"", f"it took {seconds:.0f} s and is fresh for {limits.fresh_s:g}"
    read = b""
    if not why:
        brought = {"value": pack_text(text, services.artefacts), "bytes": len(text), "seconds": seconds}
        read = orjson.dumps(brought)
    node = NodeReport(
        delivery.nodes[0].item,
        delivery.nodes[0].attempt,
        Outcome.FAILED if why else Outcome.OK,
        error=ErrorInfo("Prefetch", why) if why else None,
        begun_at=begun_at,
        ended_at=begun_at + seconds,
        prefetched=None if why else Prefetched(len(text), seconds),
    )
    report = Report(ReportKind.PREFETCHED, delivery.token, delivery.run_id, delivery.step_no, services.name, (node,))
    services.hot.prefetches.end(delivery.shard, report, read, max(left_s, 1.0))


def _read(services: Services, delivery: Delivery, limits: Prefetch) -> tuple[bytes, str]:
    """What was read, as JSON text, or why nothing was: never with a message, which may quote a secret."""
    try:
        _hanging[:] = [thread for thread in _hanging if thread.is_alive()]
        if len(_hanging) >= _HANGING_MOST:
            return b"", "too many others hang"
        text = orjson.dumps(_called(services, delivery))
    except body.Interrupted as error:
        return b"", type(error).__name__
    except Exception as error:  # noqa: BLE001 - whatever it is, the body will meet it and tell
        return b"", type(error).__name__
    if len(text) > limits.limit_bytes:
        return b"", f"{len(text):,} bytes, more than {limits.limit_bytes:,}"
    return text, ""


def _called(services: Services, delivery: Delivery) -> Any:
    task_type = services.registry.get(delivery.task).prefetch
    if task_type is None:
        raise Permanent(f"{delivery.task} has no prefetch function here")
    written = unpack(delivery.with_, services.artefacts)
    unwanted = Unwanted(services, delivery)
    context = make_context(services, delivery, delivery.nodes[0], LogLines(services.masker), unwanted, Progress())
    rendered = render(written, unpack(delivery.shared, services.artefacts))
    arguments = bind(task_type, resolve(written, rendered, context.secret), context)
    interruption = body.Interruption()
    over = threading.Event()
    threading.Thread(target=_watch, args=(unwanted, interruption, over), name="prefetch", daemon=True).start()
    try:
        return dump(task_type, body.call(task_type.function, arguments, delivery.timeout_s, unwanted, interruption))
    except body.Interrupted as error:
        if error.abandoned:
            _hanging.append(threading.current_thread())
        raise
    finally:
        over.set()


def _watch(unwanted: Unwanted, interruption: body.Interruption, over: threading.Event) -> None:
    """End the function once nobody wants what it reads: a slot is worth more."""
    while not over.wait(_WATCH_S):
        if unwanted() and not over.is_set():
            interruption.stop("is not wanted any more")
            return
