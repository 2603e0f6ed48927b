"""Redis in memory: what the scripts of ``engine/hotstate/scripts`` do, and how it is lost.

State is plain data so that an older copy can be put back, as an append-only file does that is
synced once a second.
"""

from __future__ import annotations

import copy
from collections import deque
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from engine.errors import Unavailable
from engine.runtime.ports import PermitView, WorkerInfo
from engine.wire import Report, prefetch_field
from tests.simulation.budgets import BudgetData
from tests.simulation.driver import Driver, Violation

Permit = tuple[str, str, str, str, float]
"""State (p published, c claimed, b begun), token, epoch, nonce, when begun."""


@dataclass(slots=True)
class Data:
    """All that Redis holds."""

    marker: str = ""
    permits: dict[str, dict[str, Permit]] = field(default_factory=dict)
    leases: dict[str, float] = field(default_factory=dict)
    stream: list[tuple[tuple[int, int], bytes]] = field(default_factory=list)
    last_id: tuple[int, int] = (0, 0)
    stops: set[str] = field(default_factory=set)
    grants: dict[str, list[bool]] = field(default_factory=dict)
    queues: dict[str, deque[bytes]] = field(default_factory=dict)
    workers: dict[str, tuple[WorkerInfo, float]] = field(default_factory=dict)
    buckets: dict[str, tuple[float, float]] = field(default_factory=dict)
    ahead: dict[str, tuple[bytes, float]] = field(default_factory=dict)  # what was read, and until when it is there
    budgets: BudgetData = field(default_factory=BudgetData)
    fence: int = 0


class SimRedis:
    """The server."""

    def __init__(self, driver: Driver, lease_s: float) -> None:
        self.driver = driver
        self.data = Data()
        self.run_id = "run0"
        self.down = False
        self.woken: Callable[[], None] = lambda: None
        self.granted: Callable[[str], None] = lambda token: None
        self.acknowledged: Callable[[Report], None] = lambda report: None
        self.losses = 0
        self._lease_s = lease_s
        self._made = 0
        self._stamps = 0

    # --- faults ---------------------------------------------------------------------------------

    def flush(self) -> None:
        """FLUSHALL: everything is gone, the server is the same."""
        self.data = Data()
        self.losses += 1

    def copy(self) -> Data:
        return copy.deepcopy(self.data)

    def restart(self, kept: Data) -> None:
        """Another run of the server, with what its file kept."""
        self._made += 1
        self.run_id = f"run{self._made}"
        self.data = kept
        self.down = False
        self.losses += 1

    def reach(self) -> None:
        """Raise ``Unavailable`` while the server is away."""
        if self.down:
            raise Unavailable("Redis is away")

    # --- the scheduler's side -----------------------------------------------------------------------

    def epoch(self) -> tuple[str, str]:
        if not self.data.marker:
            self._made += 1
            self.data.marker = f"marker{self._made}"
        return self.run_id, self.data.marker

    def lead(self, shard: int, leader: int, marker: str) -> bool:
        if self.data.marker != marker or self.data.fence > leader:
            return False
        self.data.fence = leader
        return True

    def write_permits(self, epoch: str, permits: Iterable[tuple[str, str, str]], fence: tuple[int, int]) -> None:
        if not self.leads(fence[1]):
            raise Unavailable("another scheduler leads")
        for run_id, name, token in permits:
            self.data.permits.setdefault(run_id, {})[name] = ("p", token, epoch, "", 0.0)

    def leads(self, leader: int) -> bool:
        return self.data.fence == leader

    def permits(self, run_id: str, epoch: str) -> dict[str, PermitView]:
        held = self.data.permits.get(run_id, {})
        return {
            name: PermitView(permit[1], permit[0] != "p", permit[0] == "b")
            for name, permit in held.items()
            if permit[2] == epoch
        }

    def take_back(
        self, run_id: str, fields: Sequence[str], token: str, fence: tuple[int, int] | None = None
    ) -> list[str]:
        if fence is not None and not self.leads(fence[1]):
            raise Unavailable("another scheduler leads")
        held = self.data.permits.get(run_id, {})
        taken = [name for name in fields if name in held and held[name][0] != "b" and token in ("", held[name][1])]
        for name in taken:
            del held[name]
        return taken

    def permitted_runs(self, shard: int) -> Collection[str]:
        return list(self.data.permits)

    def revoke_run(self, shard: int, run_id: str) -> tuple[float, list[str]]:
        gone = self.data.permits.pop(run_id, {})
        begun = {name: permit[4] for name, permit in gone.items() if permit[0] == "b"}
        return self.driver.now - max(begun.values()) if begun else float("inf"), list(begun)

    def tell_end(self, run_id: str) -> None:
        """Nobody waits here."""

    def stop(self, tokens: Iterable[str]) -> None:
        self.data.stops.update(tokens)

    def drop_prefetches(self, run_id: str, tokens: Mapping[int, str]) -> None:
        for step_no, token in tokens.items():
            self.data.permits.get(run_id, {}).pop(prefetch_field(step_no), None)
            self.data.ahead.pop(token, None)

    def grant(self, token: str, allowed: bool) -> None:
        self.data.grants.setdefault(token, []).append(allowed)
        self.granted(token)

    def read_reports(self, shard: int, after: str, count: int, block_s: float) -> Sequence[tuple[str, Report | None]]:
        ms, _, number = after.partition("-")
        behind = (int(ms), int(number or 0))
        found = [
            (f"{entry[0]}-{entry[1]}", Report.from_bytes(raw)) for entry, raw in self.data.stream if entry > behind
        ]
        return found[:count]

    def delete_reports(self, shard: int, entries: Sequence[str]) -> None:
        gone = set(entries)
        if gone:
            for entry, raw in self.data.stream:
                if f"{entry[0]}-{entry[1]}" in gone:
                    self.acknowledged(Report.from_bytes(raw))
            self.data.stream = [entry for entry in self.data.stream if f"{entry[0][0]}-{entry[0][1]}" not in gone]

    def leases(self, shard: int) -> dict[str, float]:
        return dict(self.data.leases)

    def drop_leases(self, shard: int, tokens: Iterable[str]) -> None:
        for token in tokens:
            self.data.leases.pop(token, None)

    def queue_lengths(self, queues: Iterable[str]) -> dict[str, int]:
        return {name: len(self.data.queues.get(name, ())) for name in queues}

    def workers(self) -> Sequence[WorkerInfo]:
        return [info for info, until in self.data.workers.values() if until > self.driver.now]

    def admit(self, pool: str, limit: int, shard: int, in_use: int, want: int) -> int:
        return max(0, min(want, limit - in_use))

    def release_pools(self, shard: int, shards: int | None, used: Collection[str]) -> None:
        """One shard, whose pools ``admit`` counts from what it says."""

    def take_tokens(self, bucket: str, per_s: float, burst: int, want: int) -> tuple[int, float]:
        tokens, at = self.data.buckets.get(bucket, (1.0, self.driver.now))
        tokens = min(float(burst), tokens + (self.driver.now - at) * per_s)
        granted = min(want, int(tokens))
        self.data.buckets[bucket] = (tokens - granted, self.driver.now)
        return granted, max(0.001, (1 - (tokens - granted)) / per_s)

    def write_outline(self, shard: int, outline: str) -> None:
        pass

    # --- the workers' side ----------------------------------------------------------------------------

    def push(self, queue: str, message: bytes) -> None:
        self.data.queues.setdefault(queue, deque()).append(message)

    def pop(self, queues: Sequence[str]) -> bytes | None:
        for name in queues:
            if self.data.queues.get(name):
                return self.data.queues[name].popleft()
        return None

    def claim(self, run_id: str, names: Sequence[str], token: str, epoch: str, nonce: str) -> list[bool]:
        verdicts = [self._claim_one(run_id, name, token, epoch, nonce) for name in names]
        if any(verdicts):
            self.data.leases[token] = self._stamp()
        return verdicts

    def _claim_one(self, run_id: str, name: str, token: str, epoch: str, nonce: str) -> bool:
        permit = self.data.permits.get(run_id, {}).get(name)
        if self.run_id != epoch or permit is None:
            return False
        if permit[:3] == ("p", token, epoch):
            self.data.permits[run_id][name] = ("c", token, epoch, nonce, 0.0)
            return True
        return permit[:4] == ("c", token, epoch, nonce)

    def begin(self, run_id: str, name: str, token: str, epoch: str, nonce: str) -> bool:
        permit = self.data.permits.get(run_id, {}).get(name)
        if self.run_id != epoch or permit is None or permit[0] == "p" or permit[1:4] != (token, epoch, nonce):
            return False
        self.data.permits[run_id][name] = ("b", token, epoch, nonce, self.driver.now)
        return True

    def append(self, report: Report) -> None:
        entry = max((int(self.driver.wall * 1000), 0), (self.data.last_id[0], self.data.last_id[1] + 1))
        self.data.last_id = entry
        self.data.stream.append((entry, report.to_bytes()))
        self.woken()

    def report(self, report: Report, names: Iterable[str], *, last: bool = True) -> None:
        self.append(report)
        held = self.data.permits.get(report.run_id, {})
        for name in names:
            if name in held and held[name][1] == report.token:
                del held[name]
        if last:
            self.data.leases.pop(report.token, None)

    def held(self, run_id: str, name: str, token: str, epoch: str) -> tuple[bool, bool, bool]:
        """Whether Redis can tell, whether the permit is this delivery's, whether its body began."""
        permit = self.data.permits.get(run_id, {}).get(name)
        if self.run_id != epoch:
            return False, False, False
        ours = permit is not None and permit[1:3] == (token, epoch)
        return True, ours, permit is not None and ours and permit[0] == "b"

    def begin_prefetch(self, run_id: str, step_no: int, token: str, epoch: str, worker: str) -> bool:
        held, name = self.data.permits.get(run_id, {}), prefetch_field(step_no)
        if self.run_id != epoch or name not in held or held[name][:3] != ("p", token, epoch):
            return False
        held[name] = ("b", token, epoch, worker, self.driver.now)
        return True

    def wanted_prefetch(self, run_id: str, step_no: int, token: str) -> bool:
        permit = self.data.permits.get(run_id, {}).get(prefetch_field(step_no))
        return permit is not None and permit[1] == token

    def end_prefetch(self, report: Report, read: bytes, fresh_s: float) -> bool:
        held, name = self.data.permits.get(report.run_id, {}), prefetch_field(report.step_no)
        if name not in held or held[name][:2] != ("b", report.token):
            return False
        del held[name]
        self.data.ahead[report.token] = (read, self.driver.now + fresh_s)
        self.append(report)
        return True

    def take_prefetched(self, run_id: str, step_no: int, token: str, give_up: bool) -> tuple[bool, bytes]:
        """Whether it still runs, and what was read, if anything is there."""
        read, until = self.data.ahead.pop(token, (b"", 0.0))
        if until > self.driver.now:
            return False, read
        held, name = self.data.permits.get(run_id, {}), prefetch_field(step_no)
        if name not in held or held[name][1] != token:
            return False, b""
        if held[name][0] == "b" and not give_up and self.data.workers.get(held[name][3], (0, 0.0))[1] > self.driver.now:
            return True, b""
        del held[name]
        return False, b""

    def announce(self, info: WorkerInfo, tokens: Iterable[str]) -> set[str]:
        self.data.workers[info.name] = (info, self.driver.now + self._lease_s)
        told = set()
        for token in tokens:
            self.data.leases[token] = self._stamp()
            if token in self.data.stops:
                told.add(token)
        return told

    def left_over(self) -> str:
        """What a run that ended should have taken with it."""
        data: dict[str, Any] = {
            # Those of an earlier server, which its file brought back, are void.
            "permits": [held for held in self.data.permits.values() if any(p[2] == self.run_id for p in held.values())],
            "leases": self.data.leases,
            "reports": self.data.stream,
            # After a loss nobody may know of it any more: it expires.
            "read ahead": [
                token for token, (_, until) in self.data.ahead.items() if until > self.driver.now and not self.losses
            ],
        }
        return ", ".join(f"{name}: {found}" for name, found in data.items() if found)

    def _stamp(self) -> float:
        self._stamps += 1
        return float(self._stamps)


__all__ = ["Data", "SimRedis", "Violation"]
