"""One delivery's way through a worker: decode, claim, its nodes one after the other, report.

Celery acknowledges the message when ``Pipeline.run`` returns or raises, so by then everything that is
to be said has been said. What one attempt does is in ``attempt``.
"""

from __future__ import annotations

import logging
import secrets
import threading
from typing import Any

from engine.broker.failures import AttemptFailed
from engine.broker.lifecycle import ignore_terminate
from engine.runtime.worker import outcomes
from engine.runtime.worker.aside import Aside
from engine.runtime.worker.attempt import STOPPING, Attempt, Inputs, run_attempt, shared_inputs
from engine.runtime.worker.batch import is_batch, run_batch
from engine.runtime.worker.claiming import claimed, prepared
from engine.runtime.worker.observer import Observer
from engine.runtime.worker.prefetching import read_ahead
from engine.runtime.worker.reports import DeliveryReports, Unread
from engine.runtime.worker.segment import Segment
from engine.runtime.worker.services import Services
from engine.runtime.worker.starter import Starter
from engine.wire import Delivery, NodeReport, Outcome, real_item

_LOG = logging.getLogger(__name__)


class Pipeline:
    """Runs deliveries in one process. ``run`` is every Celery task's function."""

    def __init__(self) -> None:
        self._services: Services | None = None
        self._observer: Observer | None = None
        self._took_up = False
        self._aside: Aside | None = None
        self._unread: Unread | None = None

    def open(self, services: Services) -> None:
        """Take up work in this process, with connections of its own."""
        self._services = services
        self._observer = Observer(services)

    def run(self, delivery: dict[str, Any]) -> None:
        """Run one delivery. Raises ``AttemptFailed`` after the report, so that Flower shows a failure."""
        assert self._services is not None and self._observer is not None, "open() comes first"
        services, observer = self._services, self._observer
        if not self._took_up:
            self._took_up = True
            if threading.current_thread() is threading.main_thread():
                self._aside = Aside()
            ignore_terminate()  # not sooner: the pool sets its own handler after it has told us of the fork
        work = _decoded(delivery)
        if work is None:
            return
        if work.prefetch is not None:
            read_ahead(services, work, work.prefetch)
            return
        starter = Starter(services, work, secrets.token_hex(8), self._aside)
        ready = prepared(services, work, starter)
        held = claimed(services, work, starter, ready)
        self._settle()
        ours = held.nodes
        if not ours and not held.then:
            return  # stale, doubled or revoked: the scheduler knows better
        reports = DeliveryReports(services, work, len(ours) + len(held.then), self._aside)
        failed: list[NodeReport] = []
        ended: NodeReport | None = None
        with observer.delivering(reports):
            inputs = ready.inputs if ready else shared_inputs(services, work)
            if len(ours) > 1 and isinstance(inputs, Inputs) and is_batch(services, work):
                for ended in run_batch(services, work, ours, starter, inputs, observer):
                    _take(ended, reports, failed)
            else:
                for call in ours:
                    attempt = ready.attempt if ready else Attempt.at(services, work, call, starter)
                    if services.shutdown.is_set():
                        ended = attempt.ended(Outcome.NOT_BEGUN, STOPPING)
                    elif isinstance(inputs, Inputs):
                        ended = run_attempt(attempt, inputs, observer)
                    else:
                        ended = attempt.ended(*outcomes.of_engine(inputs, services.masker))
                    _take(ended, reports, failed)
            if held.then:
                failed += Segment(services, observer, reports, starter).follow(work, ended, held.then)
        reports.close()
        self._unread = reports.unread
        if failed:
            raise AttemptFailed(_told(failed, len(ours)))

    def _settle(self) -> None:
        """No more than one report waits for its answer, and none while bodies run: by now it has come."""
        unread, self._unread = self._unread, None
        if unread is not None:
            unread.settle()


def _take(ended: NodeReport | None, reports: DeliveryReports, failed: list[NodeReport]) -> None:
    """A node ended; ``None`` for one that is no longer ours."""
    if ended is None:
        reports.drop()
        return
    reports.add(ended)
    if ended.outcome is not Outcome.OK:
        failed.append(ended)


def _decoded(delivery: dict[str, Any]) -> Delivery | None:
    try:
        return Delivery.from_json(delivery)
    except (KeyError, TypeError, ValueError, IndexError) as error:
        _LOG.error("a message that is no delivery was dropped: %s: %s", type(error).__name__, error)
        return None


def _told(failed: list[NodeReport], count: int) -> str:
    first = failed[0]
    # Never the message: it may quote what the body was given, and Flower and its events show this text.
    why = f"{first.outcome}: {first.error.type}" if first.error else str(first.outcome)
    return why if count == 1 else f"{len(failed)} of {count} nodes; item {real_item(first.item)} {why}"
