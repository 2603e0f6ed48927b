"""The further steps of a message: those that follow begin once the one before them succeeded here.

The inputs of these are results that the scheduler has not seen yet. As soon as one does not succeed, the rest
is handed back as not begun, and the scheduler goes on from what it knows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import orjson

from engine.artefacts.values import unpack
from engine.runtime.worker import outcomes
from engine.runtime.worker.attempt import STOPPING, Attempt, Inputs, run_attempt, shared_inputs
from engine.runtime.worker.observer import Observer
from engine.runtime.worker.reports import DeliveryReports
from engine.runtime.worker.services import Services
from engine.runtime.worker.starter import Starter
from engine.scheduling.records import StepState
from engine.wire import Delivery, ErrorInfo, NodeReport, Outcome

_NOT_REACHED = ErrorInfo("NotBegun", "a step before it in the same message did not succeed")


class Segment:
    """What follows the head of one delivery."""

    def __init__(self, services: Services, observer: Observer, reports: DeliveryReports, starter: Starter) -> None:
        self._services, self._observer, self._reports, self._starter = services, observer, reports, starter
        self._views: dict[int, dict[str, Any]] = {}

    def follow(self, head: Delivery, ended: NodeReport | None, then: Sequence[Delivery]) -> list[NodeReport]:
        """Run ``then``, what follows only for as long as each succeeds; the reports of those whose bodies did not.

        ``ended`` is how the head's node ended; ``None`` if it was not ours.
        """
        failed: list[NodeReport] = []
        before = head
        for part in then:
            going = not part.follows or (ended is not None and ended.outcome is Outcome.OK)
            if part.follows and going and ended is not None:
                self._keep(before, ended)
            ended = self._run(part) if going else self._attempt(part).ended(Outcome.NOT_BEGUN, _NOT_REACHED)
            if ended is None:
                self._reports.drop()
                continue
            self._reports.add(replace(ended, step_no=part.step_no))
            if going and ended.outcome is not Outcome.OK:
                failed.append(ended)
            before = part
        return failed

    def _keep(self, part: Delivery, ended: NodeReport) -> None:
        output = unpack(orjson.loads(ended.result or "null"), self._services.artefacts)
        state = str(StepState.SUCCEEDED)
        self._views[part.step_no] = {"output": output, "state": state, "error": None, "count": 1, "failed": 0}

    def _run(self, part: Delivery) -> NodeReport | None:
        attempt = self._attempt(part)
        if self._services.shutdown.is_set():
            return attempt.ended(Outcome.NOT_BEGUN, STOPPING)
        inputs = shared_inputs(self._services, part)
        if not isinstance(inputs, Inputs):
            return attempt.ended(*outcomes.of_engine(inputs, self._services.masker))
        known = inputs.environment.get("steps", {})
        given = {name: self._views[number] for name, number in part.given.items()}
        inputs.environment = inputs.environment | {"steps": known | given}
        return run_attempt(attempt, inputs, self._observer)

    def _attempt(self, part: Delivery) -> Attempt:
        return Attempt.at(self._services, part, part.nodes[0], self._starter)
