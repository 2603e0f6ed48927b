"""What the scheduler loop needs of the world: a journal, hot state and a publisher.

Three small doors, so that the loop that runs in production is the very code that the simulation
drives through lost messages, crashes and flushed Redis. The real ones are ``engine.store``,
``engine.hotstate`` and ``engine.broker``.

Every method may raise ``engine.errors.Unavailable``; the loop then keeps what it holds and tries
again. Only the journal's may raise ``Fenced``.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from engine.learning.rows import Key, Learned, LearnedRow
from engine.scheduling.records import Record
from engine.scheduling.snapshot import (
    AttemptRow,
    ChildEnd,
    ChildOf,
    CommandRow,
    NewChild,
    RunRow,
    RunSnapshot,
    StepRow,
)
from engine.wire import Delivery, Report

__all__ = [
    "AttemptRow", "ChildEnd", "ChildOf", "CommandRow", "HotState", "Journal", "NewChild", "PermitView", "Publisher",
    "RunRow", "RunSnapshot", "StepRow", "WorkerInfo",
]  # fmt: skip


class Journal(Protocol):
    """SQL, the truth. Every write checks the shard's fencing epoch in the same transaction."""

    def acquire(self, shard: int, owner: str, ttl_s: float) -> int | None:
        """Take the shard's lease if it is free or has run out; its new epoch, else ``None``."""

    def renew(self, shard: int, epoch: int, ttl_s: float) -> None:
        """Hold the lease for ``ttl_s`` more seconds by the database's clock. Raises ``Fenced``."""

    def release(self, shard: int, epoch: int) -> None:
        """Give the lease up, so that a standby need not wait for it to run out."""

    def commit(self, shard: int, epoch: int, records: Sequence[Record]) -> None:
        """Write ``records`` in one durable transaction, all or nothing. Raises ``Fenced``.

        Writing the same records again changes nothing, for a reply may be lost after a commit.
        """

    def unfinished_runs(self, shard: int, known: Collection[str]) -> Sequence[RunRow]:
        """The shard's runs with no final state whose ids are not in ``known``, oldest first."""

    def new_run(self, shard: int, run_id: str) -> RunSnapshot | None:
        """A run of the shard of which nothing but its submission is stored; ``None`` for any other.

        A shorter way to one that was named than ``unfinished_runs`` and ``load``, which find them all.
        """

    def start_children(self, shard: int, epoch: int, children: Sequence[NewChild]) -> None:
        """Store runs that stand for nodes, with their plans, in one transaction. Raises ``Fenced``.

        One whose id is stored already is left as it is.
        """

    def living_children(self, run_id: str) -> Sequence[RunRow]:
        """The runs with no final state that were started for nodes of a run."""

    def children(self, run_id: str, step_no: int, items: Iterable[int]) -> Sequence[ChildEnd]:
        """The runs that were started for some nodes of a step, in the order of their rounds."""

    def commands(self, shard: int) -> Sequence[CommandRow]:
        """The shard's commands not yet handled, in order."""

    def paused_queues(self) -> frozenset[str]:
        """The queues to which nothing is to be dispatched."""

    def learned(self, shard: int, known: int | None) -> Learned | None:
        """What is stored of what was learned; ``None`` if its generation is ``known``: nothing was reset.

        A kind that this shard has not stored is that of another shard, if one has.
        """

    def rated(self) -> Sequence[LearnedRow]:
        """What operators' ratings told of models, for all shards alike."""

    def keep_learned(
        self, shard: int, epoch: int, generation: int, rows: Sequence[LearnedRow], gone: Sequence[Key]
    ) -> bool:
        """Store what was learned, and delete the kinds ``gone``. Raises ``Fenced``.

        ``False``, and nothing is stored, if there was a reset since ``generation``.
        """

    def load(self, run_id: str) -> RunSnapshot:
        """What the journal knows of one run, results left out."""

    def plan_source(self, version: str) -> dict[str, Any]:
        """The stored plan of that version, sub-plans included, as JSON data."""

    def results(self, run_id: str, step_no: int, items: Iterable[int] | None = None) -> dict[int, str]:
        """Results (value JSON text) of the step's succeeded nodes: all, or those of ``items``."""

    def errors(self, run_id: str, step_no: int) -> str | None:
        """The message of the step's last failed attempt, for conditions and fall-backs."""


@dataclass(frozen=True, slots=True)
class WorkerInfo:
    """A worker that announced itself of late: which queues it serves and with how many slots.

    ``code`` is one hash over the code of all its task types, empty where it did not say.
    """

    name: str
    queues: tuple[str, ...]
    slots: int
    code: str = ""


@dataclass(frozen=True, slots=True)
class PermitView:
    """A permit as the scheduler sees it: under which token, whether claimed, whether its body began."""

    token: str
    claimed: bool
    begun: bool


class HotState(Protocol):
    """Redis, which may be slow, down, or emptied at any time."""

    def epoch(self) -> tuple[str, str]:
        """The server's own run id, and a marker that is made anew when it is found missing.

        A changed run id means a restart or another server; a changed marker means a flush.
        """

    def lead(self, shard: int, leader: int, marker: str) -> bool:
        """Take only permits of the scheduler with the fencing epoch ``leader``, or of a later one.

        ``False`` if Redis was emptied since ``marker`` was read, or a later scheduler leads. Called
        after the lease was renewed, which was after the marker was read: so that a scheduler that
        was frozen in between cannot let itself in again.
        """

    def write_permits(
        self, epoch: str, permits: Iterable[tuple[str, str, str]], fence: tuple[int, int] | None = None
    ) -> None:
        """Store permits (run id, field, token) so that a delivery with that token may begin.

        ``fence`` is the shard and the fencing epoch; raises ``Unavailable`` if that scheduler does not
        lead. ``None`` writes in any case.
        """

    def permits(self, run_id: str, epoch: str) -> dict[str, PermitView]:
        """A run's permits under that epoch, by field."""

    def take_back(
        self, run_id: str, fields: Sequence[str], token: str, fence: tuple[int, int] | None = None
    ) -> list[str]:
        """Delete those of the permits that ``token`` holds and whose bodies have not begun; which.

        ``fence`` is as in ``write_permits``.
        """

    def revoke_run(self, shard: int, run_id: str) -> tuple[float, list[str]]:
        """Delete every permit of a run; seconds since its youngest body began (``inf`` if none), and which had."""

    def permitted_runs(self, shard: int) -> Collection[str]:
        """The shard's runs that have permits."""

    def tell_end(self, run_id: str) -> None:
        """Tell whoever waits that a run's end is stored."""

    def stop(self, tokens: Iterable[str]) -> None:
        """Tell running bodies to stop."""

    def drop_prefetches(self, run_id: str, tokens: Mapping[int, str]) -> None:
        """Take back what reads ahead for steps of a run (number to token), and delete what it has brought."""

    def grant(self, token: str, allowed: bool) -> None:
        """Answer a body that asked to begin."""

    def read_reports(self, shard: int, after: str, count: int, block_s: float) -> Sequence[tuple[str, Report | None]]:
        """Up to ``count`` reports after entry ``after``, waiting at most ``block_s`` for the first.

        An entry that cannot be read comes as ``None``: it is logged and deleted.
        """

    def delete_reports(self, shard: int, entries: Sequence[str]) -> None:
        """Delete entries whose effect is committed."""

    def leases(self, shard: int) -> dict[str, float]:
        """A stamp for each claimed delivery, by token, that changes whenever its worker announces it.

        The reader judges by its own monotonic clock how long a stamp has not changed: no clock
        that jumps, here or at the server, can make a living worker look dead.
        """

    def drop_leases(self, shard: int, tokens: Iterable[str]) -> None:
        """Forget leases that ended or whose attempt was given up."""

    def queue_lengths(self, queues: Iterable[str]) -> dict[str, int]:
        """Messages waiting in each queue."""

    def workers(self) -> Sequence[WorkerInfo]:
        """The workers that announced themselves within the last lease time."""

    def admit(self, pool: str, limit: int, shard: int, in_use: int, want: int) -> int:
        """Take up to ``want`` slots of a pool; ``in_use`` is what this shard holds in truth."""

    def release_pools(self, shard: int, shards: int | None, used: Collection[str]) -> None:
        """Take away what ``shard`` holds of pools that are not ``used``, and what shards from number ``shards`` hold.

        A predecessor may have died before it said what it gave back, and nobody leads a shard that was taken
        out of the settings. ``shards`` of ``None``: all that there are may be led.
        """

    def take_tokens(self, bucket: str, per_s: float, burst: int, want: int) -> tuple[int, float]:
        """Take up to ``want`` tokens; how many were granted, and seconds until there is another."""

    def write_outline(self, shard: int, outline: str) -> None:
        """Tell workers what the shard has learned, in place of what they were told before."""


class Publisher(Protocol):
    """The broker."""

    def publish(self, deliveries: Sequence[Delivery], priority: Mapping[str, int] | None = None) -> None:
        """Send deliveries, pipelined, in order. On error any part of them may have been sent."""
