"""The results of one delivery on their way to the scheduler, sent in batches by time."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from engine.errors import Unavailable
from engine.hotstate.keys import permit_field
from engine.plan.tasktype import Effects
from engine.runtime import faults
from engine.runtime.worker.aside import Aside
from engine.runtime.worker.services import TILL, Services, insist
from engine.wire import Delivery, NodeReport, Outcome, Report, ReportKind

BATCH_S = 0.05
BATCH_BYTES = 512 * 1024
PROMPT_S = 0.02
"""A body that took as long is reported at once: beside it the report costs nothing, and what is held dies with us."""

BRIEF_S = 0.25
"""Of a message that took no longer, the answer to the last report is read once the process has something else to do."""
UNREAD_S = 0.005
"""After this at the latest."""


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
        self._made_at = time.monotonic()
        self.unread: Unread | None = None

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
        if not (last and self._is_brief(nodes) and self._sent_unread(report, fields)):
            hot = self._services.hot
            insist(lambda: hot.report(delivery.shard, report, fields, last=last), f"run {delivery.run_id}")
        faults.point("after_report")
        if last and (till := self._services.kept.get(TILL)) is not None:
            till.holdings.reported(delivery.token)
        self._ended.clear()
        self._bytes, self._prompt = 0, False

    def _is_brief(self, nodes: tuple[NodeReport, ...]) -> bool:
        """Whether the message lasts on its lease until an answer that is read later has come, or has not."""
        plain = all(node.outcome is Outcome.OK for node in nodes) and self._delivery.effects != Effects.EXTERNAL
        brief = time.monotonic() - self._made_at < BRIEF_S
        return plain and brief and self._aside is not None and TILL not in self._services.kept

    def _sent_unread(self, report: Report, fields: list[str]) -> bool:
        hot, shard = self._services.hot, self._delivery.shard
        try:
            read = hot.report_unread(shard, report, fields)
        except Unavailable:
            return False
        self.unread = Unread(read, lambda: insist(lambda: hot.report(shard, report, fields, last=True), report.run_id))
        if self._aside is not None:
            self._aside.put(self.unread.soon)
        return True


class Unread:
    """A last report that Redis was given, and whose answer nobody has read yet. Safe for threads."""

    def __init__(self, read: Callable[[], None], again: Callable[[], None]) -> None:
        self._read: Callable[[], None] | None = read
        self._again = again
        self._lock = threading.Lock()
        self._asked = False

    def settle(self) -> None:
        """Read the answer; should there be none, send the report again until there is."""
        with self._lock:
            read, self._read = self._read, None
            if read is None:
                return
            try:
                read()
            except Unavailable:
                self._again()

    def soon(self) -> float | None:
        """The chore of a thread aside: settles it in a moment, if nobody has until then."""
        if not self._asked:
            self._asked = True
            return UNREAD_S
        self.settle()
        return None
