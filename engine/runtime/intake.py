"""Reading the shard's completion stream: what was read and not yet acknowledged, and from where to go on."""

from __future__ import annotations

from collections.abc import Sequence

import structlog

from engine.runtime.world import Pace, World
from engine.wire import Report

log = structlog.get_logger(__name__)

_FEW_NODES, _MANY_OUT, _GATHER_S = 16, 64, 0.01
"""Reports of fewer nodes are given so long to become more while more attempts than the second are out."""
_WEIGHT = 0.2


class Intake:
    """The reports of one shard, in their order.

    Attributes
    ----------
    caught_up
        Whether the last read took all there was.
    """

    def __init__(self, shard: int, world: World, pace: Pace) -> None:
        self._shard, self._hot, self._sleep, self._batch = shard, world.hot, world.sleep, pace.batch
        self._redis_changes = 0
        self._nodes_a_report = 1.0
        self.read_after = "0"
        self.unacknowledged: list[str] = []
        self.caught_up = False

    def read(self, block_s: float, attempts_out: int, redis_changes: int, nodes: int | None = None) -> list[Report]:
        """The next reports, waiting at most ``block_s`` for the first. Raises ``Unavailable``.

        At full load a few are given a moment to become many, for one commit. ``nodes`` is about how many of
        them the reports may tell of; ``None`` for as many reports as a batch takes.
        """
        if redis_changes != self._redis_changes:
            self._redis_changes = redis_changes
            self.read_after = "0"  # a new stream's entries may have lower ids
        self.caught_up = False
        most = self._batch if nodes is None else min(self._batch, max(1, int(nodes / self._nodes_a_report)))
        entries: Sequence[tuple[str, Report | None]]
        entries = self._hot.read_reports(self._shard, self.read_after, most, block_s)
        if 0 < _told(entries) < _FEW_NODES and len(entries) < most and attempts_out > _MANY_OUT:
            self._sleep(_GATHER_S)
            entries = [*entries, *self._hot.read_reports(self._shard, entries[-1][0], most, 0.0)]
        self.caught_up = len(entries) < most
        if entries:
            self._nodes_a_report += _WEIGHT * (max(1.0, _told(entries) / len(entries)) - self._nodes_a_report)
        reports: list[Report] = []
        for entry, report in entries:
            self.read_after = entry
            self.unacknowledged.append(entry)
            if report is None:
                log.error("report.unreadable", entry=entry, shard=self._shard)
            else:
                reports.append(report)
        return reports

    def acknowledge(self) -> None:
        """What was read is committed: delete it. Raises ``Unavailable``."""
        self._hot.delete_reports(self._shard, self.unacknowledged)
        self.unacknowledged = []


def _told(entries: Sequence[tuple[str, Report | None]]) -> int:
    """Of how many nodes these reports tell, wake-ups and the like counting as one."""
    return sum(max(1, len(report.nodes)) if report is not None else 1 for _, report in entries)
