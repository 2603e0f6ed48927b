"""The results of one delivery on their way to the scheduler, sent in batches by time."""

from __future__ import annotations

import threading
import time

from engine.hotstate.keys import permit_field
from engine.runtime import faults
from engine.runtime.worker.aside import Aside
from engine.runtime.worker.services import TILL, Services, insist
from engine.wire import Delivery, NodeReport, Report, ReportKind

BATCH_S = 0.05
BATCH_BYTES = 512 * 1024
PROMPT_S = 0.02
"""A body that took as long is reported at once: beside it the report costs nothing, and what is held dies with us."""


class DeliveryReports:
    """Holds the ended nodes of a delivery for a moment, so that a chunk costs few reports.

    Safe for threads: while a long body runs, the observer sends what ended before it.

    Parameters
    ----------
    open_nodes
        How many nodes of the delivery are ours; with the last one the lease goes.
    aside
        The thread that sends what is not the last, if there is one: the next body does not wait for it.
    """

    def __init__(self, services: Services, delivery: Delivery, open_nodes: int, aside: Aside | None = None) -> None:
        self._services = services
        self._delivery = delivery
        self._open = open_nodes
        self._aside = aside
        self._ended: list[NodeReport] = []
        self._bytes = 0
        self._since = 0.0
        self._prompt = False
        self._lock = threading.Lock()

    def add(self, node: NodeReport) -> None:
        """A node ended."""
        with self._lock:
            if not self._ended:
                self._since = time.monotonic()
            self._ended.append(node)
            self._bytes += len(node.result or "")
            self._prompt |= (node.ended_at or 0.0) - (node.begun_at or node.ended_at or 0.0) >= PROMPT_S
            last = len(self._ended) >= self._open
        if last or self._aside is None:
            self.flush_if_due()
        elif self._is_late():
            self._aside.put(self.flush_if_due)

    def drop(self) -> None:
        """A node is no longer ours; nothing is said of it."""
        with self._lock:
            self._open -= 1

    def flush_if_due(self) -> None:
        """Send what has waited long enough, or is large, or is the last."""
        with self._lock:
            if self._ended and (self._is_late() or len(self._ended) >= self._open):
                self._send()

    def _is_late(self) -> bool:
        return self._prompt or time.monotonic() - self._since >= BATCH_S or self._bytes >= BATCH_BYTES

    def close(self) -> None:
        """Send what is left."""
        with self._lock:
            if self._ended:
                self._send()

    def _send(self) -> None:
        delivery, nodes = self._delivery, tuple(self._ended)
        self._open -= len(nodes)
        last = self._open <= 0
        report = Report(ReportKind.DONE, delivery.token, delivery.run_id, delivery.step_no, self._services.name, nodes)
        fields = [permit_field(node.step_within(delivery.step_no), node.item) for node in nodes]
        faults.point("before_report")
        insist(lambda: self._services.hot.report(delivery.shard, report, fields, last=last), f"run {delivery.run_id}")
        faults.point("after_report")
        if last and (till := self._services.kept.get(TILL)) is not None:
            till.holdings.reported(delivery.token)
        self._ended.clear()
        self._bytes, self._prompt = 0, False
