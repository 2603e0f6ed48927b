"""The cache around nodes that share an invocation: hits end before it is made, and what it gives is kept one by one.

Whoever holds the right to make some entries waits for nobody else's: two workers would wait for each other. So what
another makes, or an earlier node of the same invocation, is asked for again once the invocation is over.
Imported only for steps and task types whose results are kept.
"""

from __future__ import annotations

from collections.abc import Iterator

from engine.cache.cache import BeingMade
from engine.runtime.worker import outcomes
from engine.runtime.worker.attempt import Attempt, Inputs
from engine.runtime.worker.caching import Boundary, boundary_of
from engine.wire import NodeReport


class Boundaries:
    """The boundaries of the nodes of one delivery."""

    def __init__(self, inputs: Inputs) -> None:
        self._inputs = inputs
        self._of: dict[int, Boundary] = {}
        self.misses: list[Attempt] = []
        self.late: list[Attempt] = []
        self._secret_used = False

    def enter(self, attempts: list[Attempt], *, wait: bool) -> Iterator[NodeReport]:
        """How those ended that need no body; the others are then in ``misses``, or ``late`` if another makes them."""
        self.misses, self.late = [], []
        for attempt in attempts:
            try:
                boundary = boundary_of(attempt, self._inputs, attempt.arguments or {})
                served = boundary.enter(wait=wait)
            except BeingMade:
                self.late.append(attempt)
                continue
            except Exception as error:  # noqa: BLE001 - a tag that cannot be rendered; the other nodes' may
                yield attempt.ended(*outcomes.of_engine(error, attempt.services.masker))
                continue
            if served is not None:
                yield served
                continue
            attempt.arguments = boundary.arguments
            self._of[attempt.call.item] = boundary
            self.misses.append(attempt)

    def leave(self, attempt: Attempt, report: NodeReport | None, together: int) -> NodeReport | None:
        """Keep what came of a node of an invocation of so many, in their order: it had the context of the first."""
        boundary = self._of.pop(attempt.call.item)
        self._secret_used = self._secret_used or boundary.secret_used
        return boundary.leave(report, keep=not self._secret_used, calls=1 / together)
