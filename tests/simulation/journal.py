"""SQL in memory, faithful to the journal's port: what is committed here is the truth that tests judge by."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from engine.errors import Fenced, NotFound
from engine.learning.rows import Key, Learned, LearnedRow
from engine.scheduling.records import (
    CEILING,
    PARTIAL_NODE,
    AttemptEnded,
    Begun,
    BudgetChanged,
    CommandHandled,
    Dispatched,
    Duplicate,
    NodeFinished,
    NodesSkipped,
    NodeState,
    Noted,
    PermitsGone,
    Record,
    RunChanged,
    RunState,
    StepExpanded,
    StepFinished,
    StepState,
)
from engine.scheduling.snapshot import (
    AttemptRow,
    ChildEnd,
    CommandRow,
    ExtraRow,
    NewChild,
    RunRow,
    RunSnapshot,
    StepRow,
)
from engine.wire import Outcome
from tests.simulation.driver import Driver, Violation

NodeKey = tuple[str, int, int]
_UNKNOWN = (Outcome.LOST, Outcome.INFRASTRUCTURE, Outcome.CANCELLED, Outcome.OVER_BUDGET)


@dataclass(slots=True)
class Attempt:
    """A row of the table of attempts."""

    attempt: int
    kind: Any = None
    queue: str = ""
    dispatched_at: float | None = None
    begun_at: float | None = None
    outcome: Outcome | None = None
    retry_at: float | None = None
    error: str | None = None
    error_type: str = ""
    recorded: int = 0
    repeated: bool = False
    ceiling_nusd: int | None = None


@dataclass(slots=True)
class SimJournal:
    """Tables, a lease by the database's own clock, and a fence in every write."""

    driver: Driver
    committed: list[Callable[[Record], None]] = field(default_factory=list)
    born: Callable[[NewChild], None] = lambda child: None
    runs: dict[str, RunRow] = field(default_factory=dict)
    outputs: dict[str, str | None] = field(default_factory=dict)
    permits_gone_at: dict[str, float] = field(default_factory=dict)
    ended_at: dict[str, float] = field(default_factory=dict)
    steps: dict[tuple[str, int], StepRow] = field(default_factory=dict)
    finished: dict[tuple[str, int], StepFinished] = field(default_factory=dict)
    nodes: dict[NodeKey, NodeFinished] = field(default_factory=dict)
    attempts: dict[NodeKey, dict[int, Attempt]] = field(default_factory=lambda: defaultdict(dict))
    duplicates: int = 0
    open_commands: dict[int, CommandRow] = field(default_factory=dict)
    handled: dict[int, str | None] = field(default_factory=dict)
    epoch: int = 0
    owner: str = ""
    lease_until: float = -1.0
    ledger: dict[str, tuple[tuple[str, int, int, int], dict[str, Any]]] = field(default_factory=dict)
    kinds: dict[Key, LearnedRow] = field(default_factory=dict)
    commits: int = 0
    log: list[tuple[Record, ...]] = field(default_factory=list)

    # --- the port -------------------------------------------------------------------------------

    def acquire(self, shard: int, owner: str, ttl_s: float) -> int | None:
        if self.lease_until > self.driver.now:
            return None
        self.epoch += 1
        self.owner, self.lease_until = owner, self.driver.now + ttl_s
        return self.epoch

    def renew(self, shard: int, epoch: int, ttl_s: float) -> None:
        self._fence(epoch)
        self.lease_until = self.driver.now + ttl_s

    def release(self, shard: int, epoch: int) -> None:
        if epoch == self.epoch:
            self.lease_until = -1.0

    def commit(self, shard: int, epoch: int, records: Sequence[Record]) -> None:
        self._fence(epoch)
        self.commits += 1
        self.log.append(tuple(records))
        ends = {record.run_id: record for record in records if isinstance(record, RunChanged)}
        for record in records:
            # Of a run's states only the last of a batch is stored: a batch may be written twice.
            if not isinstance(record, RunChanged) or ends[record.run_id] is record:
                self._write(record)
            for told in self.committed:
                told(record)

    def unfinished_runs(self, shard: int, known: Collection[str]) -> Sequence[RunRow]:
        return [row for row in self.runs.values() if not row.state.final and row.id not in known]

    def new_run(self, shard: int, run_id: str) -> RunSnapshot | None:
        row = self.runs.get(run_id)
        if row is None or row.state is not RunState.PENDING or any(key[0] == run_id for key in self.nodes):
            return None
        return RunSnapshot(row, [], [], [])

    def start_children(self, shard: int, epoch: int, children: Sequence[NewChild]) -> None:
        self._fence(epoch)
        for child in children:
            if child.row.id not in self.runs:
                self.runs[child.row.id] = child.row
                self.born(child)

    def living_children(self, run_id: str) -> Sequence[RunRow]:
        return [row for row in self.runs.values() if _is_below(row, run_id) and not row.state.final]

    def children(self, run_id: str, step_no: int, items: Iterable[int]) -> Sequence[ChildEnd]:
        wanted = set(items)
        found = [
            (row.parent.item, row.parent.attempt, row.parent.round, row)
            for row in self.runs.values()
            if row.parent and _is_below(row, run_id) and row.parent.step_no == step_no and row.parent.item in wanted
        ]
        return [ChildEnd(row, self.outputs.get(row.id)) for _, _, _, row in sorted(found, key=lambda each: each[:3])]

    def commands(self, shard: int) -> Sequence[CommandRow]:
        return list(self.open_commands.values())

    def paused_queues(self) -> frozenset[str]:
        return frozenset()

    def learned(self, shard: int, known: int | None) -> Learned | None:
        return None if known == 0 else Learned(0, list(self.kinds.values()))

    def rated(self) -> Sequence[LearnedRow]:
        return ()  # nobody rates in a simulated world

    def keep_learned(
        self, shard: int, epoch: int, generation: int, rows: Sequence[LearnedRow], gone: Sequence[Key]
    ) -> bool:
        self._fence(epoch)
        self.kinds.update((row.key, row) for row in rows)
        for key in gone:
            self.kinds.pop(key, None)
        return True

    def load(self, run_id: str) -> RunSnapshot:
        if run_id not in self.runs:
            raise NotFound(f"no run {run_id}")
        row = replace(self.runs[run_id], permits_gone=run_id in self.permits_gone_at)
        steps = [step for (run, _), step in sorted(self.steps.items()) if run == run_id]
        nodes = [(no, item, node.state) for (run, no, item), node in self.nodes.items() if run == run_id]
        open_nodes = [key for key in sorted(self.attempts) if key[0] == run_id and key not in self.nodes]
        own = {
            key: {no: row for no, row in self.attempts[key].items() if row.kind is None or not row.kind.extra}
            for key in open_nodes
        }
        extras = [
            ExtraRow(key[1], key[2], row.attempt, row.begun_at, row.outcome is None)
            for key in open_nodes
            for row in self.attempts[key].values()
            if row.kind is not None and row.kind.extra
        ]
        attempts = [_attempt_row(key, rows) for key, rows in own.items() if rows]
        errors = Counter(
            f"{row.error_type}: {row.error}"
            for key, rows in self.attempts.items()
            for row in rows.values()
            if key[0] == run_id and row.outcome in (Outcome.FAILED, Outcome.TIMED_OUT) and row.error is not None
        )
        lacking = {no for (run, no, _), node in self.nodes.items() if run == run_id and _is_partial(node)}
        return RunSnapshot(row, steps, nodes, attempts, extras, errors, lacking)

    def plan_source(self, version: str) -> dict[str, Any]:
        raise NotFound(version)

    def results(self, run_id: str, step_no: int, items: Iterable[int] | None = None) -> dict[int, str]:
        wanted = None if items is None else set(items)
        return {
            item: node.result
            for (run, no, item), node in self.nodes.items()
            if run == run_id and no == step_no and node.result is not None and (wanted is None or item in wanted)
        }

    def errors(self, run_id: str, step_no: int) -> str | None:
        told = [
            (row.recorded, row.error)
            for (run, no, _), rows in self.attempts.items()
            if run == run_id and no == step_no
            for row in rows.values()
            if row.error is not None
        ]
        return max(told)[1] if told else None

    # --- what people do ---------------------------------------------------------------------------

    def submit(self, row: RunRow) -> None:
        self.runs[row.id] = row

    def command(self, row: CommandRow) -> None:
        self.open_commands[row.id] = row

    # --- inside -------------------------------------------------------------------------------------

    def _fence(self, epoch: int) -> None:
        if epoch != self.epoch:
            raise Fenced(f"epoch {epoch} is not {self.epoch}")

    def _write(self, record: Record) -> None:
        match record:
            case RunChanged():
                self._run_changed(record)
            case BudgetChanged():
                self.runs[record.run_id] = replace(self.runs[record.run_id], budget=record.budget)
            case PermitsGone():
                self.permits_gone_at.setdefault(record.run_id, self.driver.now)
            case StepExpanded():
                self.steps[record.run_id, record.step_no] = StepRow(record.step_no, StepState.RUNNING, record.count)
            case StepFinished():
                self._step_finished(record)
            case NodeFinished():
                self._node_finished(record)
            case NodesSkipped():
                for item in record.items:
                    node = NodeFinished(record.run_id, record.step_no, item, record.state, 0, record.at)
                    self._node_finished(node)
            case Dispatched():
                row = self._attempt(record)
                row.kind, row.queue, row.dispatched_at = record.kind, record.queue, record.at
                row.ceiling_nusd = record.ceiling_nusd
            case Begun():
                self._attempt(record).begun_at = record.at
            case AttemptEnded():
                self._attempt_ended(record)
            case Noted():
                for kind, data in record.notes:
                    if kind == CEILING:
                        self._attempt(record).ceiling_nusd = data["nusd"]
                        continue
                    key = (record.run_id, record.step_no, record.item, record.attempt)
                    self.ledger.setdefault(data["id"], (key, data))
            case Duplicate():
                self.duplicates += 1
            case CommandHandled():
                self.open_commands.pop(record.command_id, None)
                self.handled.setdefault(record.command_id, record.error)

    def _run_changed(self, record: RunChanged) -> None:
        row = self.runs[record.run_id]
        if row.state.final and row.state is not record.state:
            raise Violation(f"run {row.id} was {row.state} and is made {record.state}")
        self.runs[row.id] = replace(row, state=record.state, reason=record.reason, partial=record.partial)
        if record.state.final:
            self.ended_at.setdefault(row.id, self.driver.now)
        if record.outputs is not None:
            self.outputs[row.id] = record.outputs

    def _step_finished(self, record: StepFinished) -> None:
        key = (record.run_id, record.step_no)
        known = self.steps.get(key)
        if known is not None and known.state.final and known.state is not record.state:
            raise Violation(f"step {key} was {known.state} and is made {record.state}")
        count = known.count if known is not None else None
        self.steps[key] = StepRow(record.step_no, record.state, count, record.reason, record.tolerated)
        self.finished[key] = record

    def _node_finished(self, record: NodeFinished) -> None:
        key = (record.run_id, record.step_no, record.item)
        first = self.nodes.setdefault(key, record)
        if (first.state, first.attempt, first.result) != (record.state, record.attempt, record.result):
            raise Violation(f"invariant 1: {key} was {first.state} and is recorded again as {record}")

    def _attempt_ended(self, record: AttemptEnded) -> None:
        row = self._attempt(record)
        if row.outcome is not None and row.outcome is not record.outcome:
            raise Violation(f"invariant 1: {record} ended before as {row.outcome}")
        row.outcome, row.retry_at, row.repeated, row.recorded = (
            record.outcome, record.retry_at, record.repeated, self.commits,
        )  # fmt: skip
        if record.error is not None:
            row.error, row.error_type = record.error.message, record.error.type
        if record.begun_at is not None:
            row.begun_at = record.begun_at

    def _attempt(self, record: Dispatched | Begun | AttemptEnded | Noted) -> Attempt:
        rows = self.attempts[record.run_id, record.step_no, record.item]
        return rows.setdefault(record.attempt, Attempt(record.attempt))


def _is_below(row: RunRow, run_id: str) -> bool:
    return row.parent is not None and row.parent.run_id == run_id


def _is_partial(node: NodeFinished) -> bool:
    return node.state is NodeState.SUCCEEDED and node.reason.startswith(PARTIAL_NODE)


def _attempt_row(key: NodeKey, rows: dict[int, Attempt]) -> AttemptRow:
    latest = rows[max(rows)]
    begun = [row.begun_at for row in rows.values() if row.begun_at is not None]
    return AttemptRow(
        step_no=key[1], item=key[2], attempt=latest.attempt, kind=latest.kind, queue=latest.queue,
        dispatched_at=latest.dispatched_at or 0.0, begun_at=latest.begun_at, outcome=latest.outcome,
        retry_at=latest.retry_at, losses=sum(row.outcome is Outcome.LOST for row in rows.values()),
        tries=sum(row.outcome in (Outcome.FAILED, Outcome.TIMED_OUT) for row in rows.values()),
        first_begun_at=min(begun, default=None),
        unknown=sum(row.begun_at is not None and row.outcome in _UNKNOWN for row in rows.values()),
    )  # fmt: skip
