"""Reading the shard's completion stream: what was read and not yet acknowledged, and from where to go on."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress

import structlog

from engine.errors import Unavailable
from engine.runtime.tempo import Patience
from engine.runtime.world import Pace, World
from engine.wire import Report, ReportKind

log = structlog.get_logger(__name__)

_FEW_NODES, _MANY_OUT, _GATHER_S = 16, 64, 0.01
"""Reports of fewer nodes are given so long to become more while more attempts than the second are out."""
_WEIGHT = 0.2

_Entry = tuple[str, Report | None]


class Intake:
    """The reports of one shard, in their order.

    Attributes
    ----------
    caught_up
        Whether the last read took all there was.
    light
        Whether only what is said of light runs and of new ones was given, and the rest is held back.
    patience
        How long a read may wait for reports of light runs; is told what goes out.
    """

    # What is said of light runs has a step of its own: a run of ten nodes would wait until all that was said
    # of a big one is taken in and stored. After that, what was held back comes, whatever else does.

    def __init__(self, shard: int, world: World, pace: Pace, is_light: Callable[[str], bool]) -> None:
        self._shard, self._hot, self._sleep, self._batch = shard, world.hot, world.sleep, pace.batch
        self._is_light, self._held_nodes = is_light, pace.held_nodes
        self._held: list[_Entry] = []
        self.light = False
        self._clock, self.patience = world.clock, Patience()
        self._redis_changes = 0
        self._nodes_a_report = 1.0
        self.read_after = "0"
        self.unacknowledged: list[str] = []
        self.caught_up = False

    @property
    def holds(self) -> bool:
        """Whether reports were read and not given yet: the next ``read`` gives some, without a wait."""
        return bool(self._held)

    def read(self, block_s: float, attempts_out: int, redis_changes: int, nodes: int | None = None) -> list[Report]:
        """The next reports, waiting at most ``block_s`` for the first. Raises ``Unavailable``.

        At full load a few are given a moment to become many, for one commit. ``nodes`` is about how many of
        them the reports may tell of; ``None`` for as many reports as a batch takes, and nothing held back.
        """
        if redis_changes != self._redis_changes:
            self._redis_changes = redis_changes
            self.read_after = "0"  # a new stream's entries may have lower ids
        self.caught_up = self.light = False
        most = self._batch if nodes is None else min(self._batch, max(1, int(nodes / self._nodes_a_report)))
        kept = bool(self._held)
        with suppress(*((Unavailable,) if kept else ())):  # what is held was read, and needs no Redis
            self._read(most, 0.0 if kept else block_s, attempts_out)
        if nodes is None:
            return self._give([], len(self._held))
        came = False
        if block_s == 0 or _told(self._held) >= self._held_nodes:
            came = self._await()
        urgent = [entry for entry in self._held if self._is_urgent(entry)]
        self._held = [entry for entry in self._held if not self._is_urgent(entry)]
        self.light = bool(urgent) and _told(self._held) >= self._held_nodes and (came or not kept)
        return self._give(urgent, 0 if self.light else _first(self._held, nodes))

    def _read(self, most: int, block_s: float, attempts_out: int) -> None:
        """Hold what comes next."""
        if len(self._held) >= self._batch:
            return
        entries = list(self._hot.read_reports(self._shard, self.read_after, most, block_s))
        few = 0 < _told(entries) < _FEW_NODES and len(entries) < most and not self._held
        if few and attempts_out > _MANY_OUT and not any(map(self._is_urgent, entries)):
            self._sleep(_GATHER_S)
            entries += self._hot.read_reports(self._shard, entries[-1][0], most, 0.0)
        self.caught_up = len(entries) < most
        if entries:
            self.read_after = entries[-1][0]
            self._held += entries
            self._nodes_a_report += _WEIGHT * (max(1.0, _told(entries) / len(entries)) - self._nodes_a_report)

    def _await(self) -> bool:
        """Put the turn off for what light runs have out; whether some of that came."""
        began = self._clock.monotonic()
        put_off_s = self.patience.take(began)
        if put_off_s <= 0 or any(map(self._is_urgent, self._held)):
            return False
        came: Sequence[_Entry] = [("", None)]
        with suppress(Unavailable):
            while came and not any(map(self._is_urgent, came)):
                left_s = began + put_off_s - self._clock.monotonic()
                came = self._hot.read_reports(self._shard, self.read_after, self._batch, left_s) if left_s > 0 else ()
                self.read_after = came[-1][0] if came else self.read_after
                self._held += came
        self.patience.spent(self._clock.monotonic() - began)
        return bool(came)

    def _is_urgent(self, entry: _Entry) -> bool:
        report = entry[1]
        if report is None:
            return False
        return bool(report.run_id) if report.kind is ReportKind.WAKE else self._is_light(report.run_id)

    def _give(self, first: Sequence[_Entry], count: int) -> list[Report]:
        """Hand out ``first`` and so many of what is held."""
        given, self._held = [*first, *self._held[:count]], self._held[count:]
        self.caught_up = self.caught_up and not self._held
        reports: list[Report] = []
        for entry, report in given:
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


def _first(entries: Sequence[_Entry], nodes: int) -> int:
    """How many of the entries, in their order, tell of ``nodes`` or a few more."""
    left = nodes
    for count, entry in enumerate(entries):
        if left <= 0:
            return count
        left -= _told([entry])
    return len(entries)


def _told(entries: Sequence[_Entry]) -> int:
    """Of how many nodes these reports tell, wake-ups and the like counting as one."""
    return sum(max(1, len(report.nodes)) if report is not None else 1 for _, report in entries)
