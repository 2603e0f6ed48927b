"""Runs that a shard's scheduler does not hold in memory yet, and how they get there.

A submission names its run in the wake-up, and that run is read in one statement. A wake-up may be lost, or
name a run of which more is stored; so all of the shard's unfinished runs are looked for as well, now and then.
Commits nothing: what taking a run up decides is handed to the leader.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress

import structlog

from engine.errors import FlywheelError, NotFound, Unavailable
from engine.runtime.bugs import NOT_OF_A_RUN, reason_of
from engine.runtime.ports import RunRow
from engine.runtime.world import World
from engine.scheduling.core import Core
from engine.scheduling.events import RunOver, Verdict
from engine.scheduling.records import RunChanged, RunState
from engine.scheduling.snapshot import RunSnapshot

log = structlog.get_logger(__name__)

_TAKE_AT_ONCE = 50


class Newcomers:
    """Takes up runs of one shard. Every method but ``name`` may raise ``Unavailable``.

    Parameters
    ----------
    rows
        Takes in the row of each run that was taken up.
    absorb
        Takes in what the core decided.
    taken_up
        Told of each run that the core holds from then on.
    """

    def __init__(
        self, shard: int, epoch: int, world: World, core: Core, rows: dict[str, RunRow],
        absorb: Callable[[Verdict], None], taken_up: Callable[[RunRow], None],
    ) -> None:  # fmt: skip
        self._shard, self._epoch, self._world, self._core, self._rows = shard, epoch, world, core, rows
        self._absorb, self._taken_up = absorb, taken_up
        self._named: dict[str, None] = {}

    @property
    def waiting(self) -> bool:
        """Whether runs were named and not looked for yet."""
        return bool(self._named)

    def name(self, run_id: str) -> None:
        """A wake-up named this run."""
        if run_id not in self._core.runs:
            self._named[run_id] = None

    def take_named(self) -> bool:
        """Take up runs that were named, a few at a time; ``False`` if one is to be looked for otherwise."""
        found_all = True
        for run_id in list(self._named)[:_TAKE_AT_ONCE]:
            del self._named[run_id]  # first: should it fail, the look for all of them finds it
            if run_id not in self._core.runs:
                try:
                    snapshot = self._world.journal.new_run(self._shard, run_id)
                except Exception as error:  # noqa: BLE001 - it is found among all of them, and ends there
                    reason_of(error, run_id, "the run was looked for")
                    snapshot = None
                if snapshot is None:
                    found_all = False
                else:
                    self.take(snapshot.run, snapshot)
        return found_all

    def take_all(self) -> bool:
        """Take up unfinished runs, the oldest first; whether there were any that are not in memory."""
        rows = self._world.journal.unfinished_runs(self._shard, self._core.runs.keys())[:_TAKE_AT_ONCE]
        for row in rows:
            self.take(row)
        return bool(rows)

    def take_commanded(self, run_id: str) -> None:
        """Take up a run that a command names and that has not been noticed yet, if it has not ended."""
        if run_id in self._rows:
            return  # it could not be taken up, and its end is not committed yet
        try:
            snapshot = self._world.journal.load(run_id)
        except NotFound:
            log.warning("command.for_no_run", run=run_id)
        except Exception as error:  # noqa: BLE001 - it is found among all of them, and ends there
            reason_of(error, run_id, "the run was looked for")
        else:
            self.take(snapshot.run, snapshot)

    def take(self, row: RunRow, snapshot: RunSnapshot | None = None) -> None:
        """Take up one run; ``snapshot`` is what the journal knows of it, if that was read."""
        if row.state.final or row.id in self._rows:  # with a row it was taken up, or failed with what is committed next
            return
        try:
            plan = self._world.compiled(row.plan_version)
            snapshot = snapshot or self._world.journal.load(row.id)
        except NOT_OF_A_RUN:
            raise
        except FlywheelError as error:
            self._fail(row, f"its stored plan does not compile: {error}")
            return
        except Exception as error:  # noqa: BLE001 - nothing of it is in memory yet: it ends that run, and no other
            self._fail(row, reason_of(error, row.id, "the run was taken up"))
            return
        self._rows[row.id] = row
        try:
            verdict = self._core.take(snapshot, plan, self._world.clock.now())
        except Exception as error:
            # Half of it may be in the core's memory, to be scheduled and counted with the others: that memory is
            # given up, and made anew from the journal, in which the run has failed by then. So it happens once.
            why = reason_of(error, row.id, "the run was taken up")
            failed = RunChanged(row.id, RunState.FAILED, why, self._world.clock.now())
            with suppress(Unavailable):  # it would let this scheduler go on
                self._world.journal.commit(self._shard, self._epoch, [failed])
            raise
        self._absorb(verdict)
        self._taken_up(row)

    def _fail(self, row: RunRow, reason: str) -> None:
        """The run cannot be taken up: it ends, the run above it is told, and what it left in Redis goes."""
        self._rows[row.id] = row  # until it is forgotten: whose node it stands for is read there
        failed = RunChanged(row.id, RunState.FAILED, reason, self._world.clock.now())
        self._absorb(Verdict([failed], [], [RunOver(row.id)]))
