"""What a body is given to ask of the engine, made for one attempt."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from engine.ids import node_key
from engine.plan.care import Care
from engine.plan.tasktype import TaskContext
from engine.runtime.worker.loglines import LogLines
from engine.runtime.worker.notes import Notes
from engine.runtime.worker.offered import Offered
from engine.runtime.worker.services import Services
from engine.wire import Delivery, NodeCall, real_item


class Progress:
    """The share of its work that a body says it has done."""

    def __init__(self) -> None:
        self.share: float | None = None

    def set(self, share: float) -> None:
        """``share`` is held to [0, 1]."""
        self.share = min(1.0, max(0.0, float(share)))


def make_context(
    services: Services,
    delivery: Delivery,
    call: NodeCall,
    log: LogLines,
    stop: Callable[[], bool],
    progress: Progress,
    prefetched: Callable[[], Any] | None = None,
    notes: Notes | None = None,
) -> TaskContext:
    """The context of one attempt.

    ``prefetched`` gives what was read ahead for it, if anything was; without ``notes`` it is offered no services,
    as nothing it did would be journaled.
    """
    further: dict[str, Any] = {} if prefetched is None else {"prefetched": prefetched}
    if notes is not None:
        offered = Offered(services, delivery, call, stop, notes, log)
        further |= {"note": notes.note, "serving": notes.serving, "service": offered.get}
    node = node_key(delivery.path, real_item(call.item), delivery.fanned)
    return TaskContext(
        run_id=delivery.run_id,
        node=node,
        attempt=call.attempt,
        tenant=delivery.tenant,
        session=delivery.session,
        plan=delivery.plan,
        idempotency_key=f"{delivery.run_id}:{node}",
        log=log,
        stop_requested=stop,
        report_progress=progress.set,
        secret=services.secrets.get,
        settings=services.settings,
        care=Care.from_json(delivery.care),
        **further,
    )
