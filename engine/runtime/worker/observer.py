"""Bodies that run for a while: what people see of them, and their end when they do not heed their stop flag.

One thread a process looks around a few times a second, so that a short body pays nothing for it. It
sends begin marks, log lines and progress, and the results that wait behind a long body.

Where the scheduler wants to hear of stragglers (``Delivery.mark_after_s``), it looks every 20 ms, and
right when a mark is due; a worker that has had no such body for a moment goes back to few looks.
"""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING

from engine.errors import Unavailable
from engine.runtime.worker.reports import DeliveryReports
from engine.runtime.worker.services import Services
from engine.wire import NodeReport, Outcome, Report, ReportKind

if TYPE_CHECKING:
    from engine.runtime.worker.attempt import Attempt

_LOG = logging.getLogger(__name__)
_LOOK_S = 0.25
_QUICK_LOOK_S = 0.02
_PROGRESS_S = 1.0
_STOPS_S = 1.0


class _Running:
    """An attempt whose body runs."""

    __slots__ = ("attempt", "awaited", "interrupted", "mark_at", "marked", "since", "stopped_at", "told", "told_share")

    def __init__(self, attempt: Attempt, mark_after_s: float) -> None:
        self.attempt = attempt
        self.since = self.told = time.monotonic()
        self.marked = attempt.delivery.effects == "external"  # the scheduler granted it, so it knows
        asked_s = attempt.delivery.mark_after_s
        self.awaited = asked_s is not None and not self.marked  # the scheduler decides something by its mark
        self.mark_at = self.since + (mark_after_s if asked_s is None else min(asked_s, mark_after_s))
        self.told_share: float | None = None
        self.stopped_at: float | None = None  # when it was seen that it was told to stop
        self.interrupted = False


class Observer:
    """Watches the bodies of one process."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._running: dict[int, _Running] = {}
        self._reports: dict[int, DeliveryReports] = {}
        self._lock = threading.Lock()
        self._stops_at = 0.0
        self._mark_after_s = services.settings.begin_mark_after_s
        self._look_s = max(_QUICK_LOOK_S, min(_LOOK_S, self._mark_after_s))
        self._quick = threading.Event()
        self._quick_until = 0.0
        threading.Thread(target=self._run, name="observer", daemon=True).start()

    @contextlib.contextmanager
    def delivering(self, reports: DeliveryReports) -> Iterator[None]:
        """While a delivery is worked on, its finished nodes do not wait for the rest."""
        self._reports[id(reports)] = reports
        try:
            yield
        finally:
            del self._reports[id(reports)]

    @contextlib.contextmanager
    def watching(self, attempt: Attempt) -> Iterator[None]:
        """While its body runs, people see it run."""
        key = id(attempt)
        self._running[key] = running = _Running(attempt, self._mark_after_s)
        if running.awaited and not self._quick.is_set():
            self._quick.set()
        try:
            yield
        finally:
            del self._running[key]
            if running.told != running.since or running.marked or running.stopped_at is not None:
                with self._lock:  # a report of it, or its interruption, must not come after its end
                    pass

    def _run(self) -> None:
        while True:
            self._rest()
            try:
                for reports in list(self._reports.values()):
                    reports.flush_if_due()
                for key, running in list(self._running.items()):
                    self._look_at(key, running)
                    self._interrupt_if_due(key, running)
                self._look_for_stops()
            except Unavailable:
                continue  # only for people who watch; the result itself is insisted on
            except RuntimeError:
                continue  # a dict grew while it was listed
            except Exception:  # noqa: BLE001 - people would see no body any more, for one bad line
                _LOG.exception("observer")

    def _rest(self) -> None:
        """Wait until the next look: a long while, unless a mark is awaited meanwhile."""
        if not self._quick.wait(self._look_s):
            return
        now = time.monotonic()
        awaited = [each for each in list(self._running.values()) if each.awaited]
        if awaited:
            self._quick_until = now + _LOOK_S
        elif now > self._quick_until:
            self._quick.clear()
            if any(each.awaited for each in list(self._running.values())):
                self._quick.set()  # it began in this moment
        due = min((each.mark_at for each in awaited if not each.marked), default=now + _QUICK_LOOK_S)
        time.sleep(max(0.001, min(_QUICK_LOOK_S, due - now)))

    def _look_at(self, key: int, running: _Running) -> None:
        now = time.monotonic()
        with self._lock:
            if key not in self._running:
                return
            if not running.marked and now >= running.mark_at:
                running.marked = True
                self._send(running, ReportKind.BEGUN, ())
            if now - running.told >= _PROGRESS_S:
                running.told = now
                running.attempt.log.hand_over(lambda lines: self._tell(running, lines))

    def _look_for_stops(self) -> None:
        """Ask, in one round trip, which of the bodies that last were told to stop."""
        now = time.monotonic()
        lasting = [each for each in list(self._running.values()) if now - each.since >= _STOPS_S]
        if not lasting or now < self._stops_at:
            return
        self._stops_at = now + _STOPS_S
        stopped = self._services.hot.stops_requested([each.attempt.delivery.token for each in lasting])
        for running in lasting:
            if running.attempt.delivery.token in stopped and running.stopped_at is None:
                running.stopped_at = now

    def _interrupt_if_due(self, key: int, running: _Running) -> None:
        grace_s = self._services.settings.stop_grace_s
        if running.interrupted or running.stopped_at is None or time.monotonic() - running.stopped_at < grace_s:
            return
        with self._lock:
            if key in self._running:  # else it has ended, and another may run on its thread
                running.interrupted = True
                running.attempt.interruption.stop(f"was told to stop and went on for {grace_s:g} s")

    def _tell(self, running: _Running, lines: tuple[str, ...]) -> None:
        share = running.attempt.progress.share
        if lines or share != running.told_share:
            self._send(running, ReportKind.PROGRESS, lines)
            running.told_share = share

    def _send(self, running: _Running, kind: ReportKind, lines: tuple[str, ...]) -> None:
        attempt, delivery = running.attempt, running.attempt.delivery
        call = attempt.call
        # A node's outcome means nothing in these kinds of report; what counts is that it has begun.
        node = NodeReport(
            call.item, call.attempt, Outcome.OK, begun_at=attempt.begun_at, log=lines, progress=attempt.progress.share
        )
        report = Report(kind, delivery.token, delivery.run_id, delivery.step_no, self._services.name, (node,))
        self._services.hot.append(delivery.shard, report)
