"""The scheduler's door to SQL: the journal of ``engine.runtime.ports``, over SQLite or Postgres.

The fence is checked first in every write, in the same transaction. What is read and written is said
in ``leases``, ``writing`` and ``loading``; nothing here decides anything about a run.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from typing import Any

from engine.learning.rows import Key, Learned, LearnedRow
from engine.runtime.ports import ChildEnd, CommandRow, NewChild, RunRow, RunSnapshot
from engine.scheduling.records import Record
from engine.store import controls, leases, loading, submission
from engine.store import learned as learning
from engine.store.arrivals import Arrivals
from engine.store.engines import Database
from engine.store.schema import migrate
from engine.store.writing import Batch


class SqlJournal:
    """The journal over one database, which is brought up to this engine's schema.

    Not to be shared by threads that commit to the same shard: a shard has one writer.

    Raises
    ------
    UsageError
        The URL cannot be used, or the database was written by a newer engine.
    Unavailable
        The database cannot be reached. Every method may raise it too.
    """

    def __init__(self, url: str) -> None:
        self.database = Database(url)
        self._arrivals = Arrivals()
        migrate(self.database)

    def acquire(self, shard: int, owner: str, ttl_s: float) -> int | None:
        """Take the shard's lease if it is free or has run out; its new epoch, else ``None``."""
        return leases.acquire(self.database, shard, owner, ttl_s)

    def renew(self, shard: int, epoch: int, ttl_s: float) -> None:
        """Hold the lease for ``ttl_s`` more seconds by the database's clock. Raises ``Fenced``."""
        leases.renew(self.database, shard, epoch, ttl_s)

    def release(self, shard: int, epoch: int) -> None:
        """Give the lease up, so that a standby need not wait for it to run out."""
        leases.release(self.database, shard, epoch)

    def commit(self, shard: int, epoch: int, records: Sequence[Record]) -> None:
        """Write ``records`` in one durable transaction, all or nothing. Raises ``Fenced``.

        After an ``Unavailable`` the batch may or may not be stored; write the same record objects
        again, alone or followed by others.
        """
        numbers = self._arrivals.number(records)
        batch = Batch(records, numbers)
        with self.database.changing(f"commit {len(records)} records to shard {shard}") as door:
            leases.check_fence(door, shard, epoch)
            batch.write(door)
        self._arrivals.committed(numbers)

    def unfinished_runs(self, shard: int, known: Collection[str]) -> Sequence[RunRow]:
        """The shard's runs with no final state whose ids are not in ``known``, oldest first."""
        return loading.unfinished_runs(self.database, shard, known)

    def new_run(self, shard: int, run_id: str) -> RunSnapshot | None:
        """A run of the shard of which nothing but its submission is stored; ``None`` for any other."""
        return loading.new_run(self.database, shard, run_id)

    def start_children(self, shard: int, epoch: int, children: Sequence[NewChild]) -> None:
        """Store runs that stand for nodes, with their plans, in one transaction. Raises ``Fenced``."""
        with self.database.writing(f"start {len(children)} runs in shard {shard}") as connection:
            leases.check_fence(connection, shard, epoch)
            submission.start_children(connection, shard, children)

    def living_children(self, run_id: str) -> Sequence[RunRow]:
        """The runs with no final state that were started for nodes of a run."""
        return loading.living_children(self.database, run_id)

    def children(self, run_id: str, step_no: int, items: Iterable[int]) -> Sequence[ChildEnd]:
        """The runs that were started for some nodes of a step, in the order of their rounds."""
        return loading.children(self.database, run_id, step_no, items)

    def commands(self, shard: int) -> Sequence[CommandRow]:
        """The shard's commands not yet handled, in order."""
        return loading.commands(self.database, shard)

    def paused_queues(self) -> frozenset[str]:
        """The queues to which nothing is to be dispatched."""
        return controls.paused_queues(self.database)

    def learned(self, shard: int, known: int | None) -> Learned | None:
        """What is stored of what was learned; ``None`` if its generation is ``known``: nothing was reset."""
        return learning.learned(self.database, shard, known)

    def rated(self) -> Sequence[LearnedRow]:
        """What operators' ratings told of models."""
        return learning.rated(self.database)

    def keep_learned(
        self, shard: int, epoch: int, generation: int, rows: Sequence[LearnedRow], gone: Sequence[Key]
    ) -> bool:
        """Store what was learned and delete ``gone``; ``False`` if there was a reset. Raises ``Fenced``."""
        with self.database.writing(f"keep what shard {shard} learned") as connection:
            leases.check_fence(connection, shard, epoch)
            return learning.keep(connection, shard, generation, rows, gone)

    def load(self, run_id: str) -> RunSnapshot:
        """What the journal knows of one run, results left out. Raises ``NotFound``."""
        return loading.load(self.database, run_id)

    def plan_source(self, version: str) -> dict[str, Any]:
        """The stored plan of that version, sub-plans included, as JSON data. Raises ``NotFound``."""
        return loading.plan_source(self.database, version)

    def results(self, run_id: str, step_no: int, items: Iterable[int] | None = None) -> dict[int, str]:
        """Results (value JSON text) of the step's succeeded nodes: all, or those of ``items``."""
        return loading.results(self.database, run_id, step_no, items)

    def errors(self, run_id: str, step_no: int) -> str | None:
        """The message of the step's last failed attempt, for conditions and fall-backs."""
        return loading.last_error(self.database, run_id, step_no)

    def close(self) -> None:
        """Close every connection."""
        self.database.close()
