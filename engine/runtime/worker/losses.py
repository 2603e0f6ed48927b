"""What a worker's parent process says of deliveries that no child can speak for any more."""

from __future__ import annotations

import logging
import threading
from collections.abc import Sequence
from typing import Any

from engine.hotstate.keys import permit_field
from engine.hotstate.worker import Held, WorkerHotState
from engine.runtime.worker.places import PLACES
from engine.runtime.worker.services import insist
from engine.wire import Delivery, ErrorInfo, NodeReport, Outcome, Report, ReportKind

_LOG = logging.getLogger(__name__)


class Losses:
    """Reports lost deliveries, each on a thread of its own: Celery's main loop must not wait for Redis."""

    def __init__(self, hot: WorkerHotState, worker: str, lease_s: float) -> None:
        self._hot = hot
        self._worker = worker
        self._lease_s = lease_s

    def lost(self, raw: dict[str, Any], why: str, *, timed_out: bool) -> threading.Thread:
        """A child died over this delivery, or was killed for running too long."""
        return self._aside(self._report_lost, Delivery.from_json(raw), why, timed_out)

    def stopped(self, raw: dict[str, Any]) -> threading.Thread:
        """A child was killed because the body of this delivery did not heed its stop flag."""
        return self._aside(self._report_stopped, Delivery.from_json(raw))

    def unknown(self, raw: dict[str, Any]) -> threading.Thread:
        """This worker knows no such task type; left alone, the message would be sent for ever."""
        return self._aside(self._report_unknown, Delivery.from_json(raw))

    def _aside(self, target: Any, *arguments: Any) -> threading.Thread:
        thread = threading.Thread(target=target, args=arguments, name="losses", daemon=True)
        thread.start()
        return thread

    def _report_lost(self, delivery: Delivery, why: str, timed_out: bool) -> None:
        place = PLACES.of(delivery.token)
        nodes = blamed(delivery, self._held(delivery), place, why, timed_out=timed_out)
        _LOG.error("%s of run %s is lost: %s", delivery.path, delivery.run_id, why)
        self._send(ReportKind.LOST, delivery, nodes)

    def _report_stopped(self, delivery: Delivery) -> None:
        """Said of nodes without a permit too, as a revoked run's are; of those reported before it is a double."""
        error = ErrorInfo("Stopped", "was told to stop, went on, and was killed")
        nodes = []
        for (part, call), state in zip(delivery.parts(), self._held(delivery), strict=True):
            begun_at = state.begun_us / 1e6 if state.begun_us is not None else None
            outcome = Outcome.NOT_BEGUN if state.ours and begun_at is None else Outcome.CANCELLED
            nodes.append(
                NodeReport(
                    call.item, call.attempt, outcome, error=error, begun_at=begun_at, step_no=_told_of(part, delivery)
                )
            )
        _LOG.warning("%s of run %s was killed: it did not heed its stop flag", delivery.path, delivery.run_id)
        self._send(ReportKind.DONE, delivery, nodes)

    def _held(self, delivery: Delivery) -> list[Held]:
        fields = [permit_field(part.step_no, call.item) for part, call in delivery.parts()]
        held: list[Held] = []

        def look() -> None:
            held[:] = self._hot.held(delivery.run_id, fields, delivery.token, delivery.epoch)

        insist(look, f"the loss of {delivery.token}")
        return held

    def _report_unknown(self, delivery: Delivery) -> None:
        fields = [permit_field(part.step_no, call.item) for part, call in delivery.parts()]
        ours: list[bool] = []

        def claim() -> None:
            ours[:] = self._hot.claim(
                delivery.run_id, delivery.shard, fields, delivery.token, delivery.epoch, "unknown", self._lease_s
            )

        insist(claim, f"delivery {delivery.token}")
        message = (
            f"worker {self._worker} knows no task type {delivery.task!r}: name its module in FLYWHEEL_TASK_MODULES"
        )
        error = ErrorInfo("NotFound", message, retryable=False)
        not_begun = ErrorInfo("NotBegun", f"{delivery.path} did not run")
        claimed = [
            NodeReport(call.item, call.attempt, Outcome.FAILED, error=error)
            if part is delivery
            else NodeReport(call.item, call.attempt, Outcome.NOT_BEGUN, error=not_begun, step_no=part.step_no)
            for (part, call), mine in zip(delivery.parts(), ours, strict=True)
            if mine
        ]
        self._send(ReportKind.DONE, delivery, claimed)

    def _send(self, kind: ReportKind, delivery: Delivery, nodes: Sequence[NodeReport]) -> None:
        if not nodes:
            return
        report = Report(kind, delivery.token, delivery.run_id, delivery.step_no, self._worker, tuple(nodes))
        fields = [permit_field(node.step_within(delivery.step_no), node.item) for node in nodes]
        insist(lambda: self._hot.report(delivery.shard, report, fields, last=True), f"run {delivery.run_id}")


def _told_of(part: Delivery, delivery: Delivery) -> int | None:
    return None if part is delivery else part.step_no


def blamed(
    delivery: Delivery, held: Sequence[Held], place: int | None, why: str, *, timed_out: bool
) -> list[NodeReport]:
    """What is reported of each node of a lost delivery.

    The body at ``place`` ran, or where that is not known those whose begin mark is the last one. Those
    that began before had ended, and only their results were lost with the process; those without a
    begin mark, or behind ``place``, never began. Nodes whose permit is gone were reported, revoked, or
    sent again: nothing is said of them.
    """
    youngest = max((state.begun_us for state in held if state.begun_us is not None), default=None)
    reports = []
    for number, ((part, call), state) in enumerate(zip(delivery.parts(), held, strict=True)):
        begun_at = state.begun_us / 1e6 if state.begun_us is not None else None
        ran = begun_at is not None and (state.begun_us == youngest if place is None else number == place)
        if place is not None and number > place:
            begun_at = None
        if not state.known or (state.ours and ran):
            outcome = Outcome.TIMED_OUT if timed_out else Outcome.LOST
        elif not state.ours:
            continue
        else:
            outcome = Outcome.NOT_BEGUN if begun_at is None else Outcome.INFRASTRUCTURE
        error = ErrorInfo("WorkerLost", why)
        reports.append(
            NodeReport(
                call.item, call.attempt, outcome, error=error, begun_at=begun_at, step_no=_told_of(part, delivery)
            )
        )
    return reports
