"""Budgets in Redis: what is settled and reserved in every scope, and who holds what.

One script over all scopes for each verb (``scripts/budget.lua``), so that no interleaving of callers can
admit more than a limit allows. Decides nothing but what fits; which scopes count, and what becomes of a
refusal, is said above.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from typing import Any, NamedTuple, cast

from engine.hotstate.connection import connect, load_script, server_run_id, text, translated
from engine.hotstate.keys import Keys

MOST = 2**53 - 1
"""The largest amount that the script counts exactly: nine million dollars. A limit above it is taken for it."""

_OF_RUNS = ("run/", "task/")
_PAGE = 500

CLOSED, WAIT, EXHAUSTED, OK, MOVED, GONE = "closed", "wait", "exhausted", "ok", "moved", "gone"


class Amounts(NamedTuple):
    """What is limited, in whole numbers: nano-dollars, tokens, calls, milliseconds of calls."""

    nusd: int = 0
    tokens: int = 0
    calls: int = 0
    ms: int = 0

    def plus(self, other: Amounts) -> Amounts:
        """Both together."""
        return Amounts(*(a + b for a, b in zip(self, other, strict=True)))


DIMENSIONS = ("usd", "tokens", "calls", "time")
"""What people call the amounts, in the same order."""


class Limit(NamedTuple):
    """Limits of one scope; ``None``: none."""

    nusd: int | None = None
    tokens: int | None = None
    calls: int | None = None
    ms: int | None = None


NO_LIMIT = Limit()


@dataclass(frozen=True, slots=True)
class Scope:
    """Something whose spending is summed, such as a run: its name in Redis, its limits, seconds it is kept unused."""

    name: str
    limit: Limit = NO_LIMIT
    kept_s: int = 400 * 86_400


@dataclass(frozen=True, slots=True)
class Bucket:
    """Bounds bursts: it holds so many nano-dollars at most, and so many flow in within an hour."""

    name: str
    capacity_nusd: int
    refill_nusd_per_h: int


@dataclass(frozen=True, slots=True)
class Record:
    """A reservation as it is kept with its delivery.

    Parameters
    ----------
    state
        ``o`` open, ``x`` open and past its time, so that it counts as spent, ``s`` settled.
    amounts
        The ceiling while it is open, what was spent once it is settled.
    node
        The attempt: run, step, item and attempt, joined by ``/``.
    entry
        JSON of its line in the ledger; while it is open, of what is known of it.
    """

    id: str
    state: str
    expiry_ms: int
    amounts: Amounts
    scopes: tuple[str, ...]
    buckets: tuple[str, ...]
    shard: int
    node: str
    entry: str = ""

    def text(self) -> str:
        """As the script reads it, without id and entry."""
        joined = (",".join(self.scopes) or "-", ",".join(self.buckets) or "-")
        return " ".join(map(str, (self.state, self.expiry_ms, *self.amounts, *joined, self.shard, self.node)))

    @classmethod
    def parsed(cls, record_id: str, raw: str, entry: str = "") -> Record:
        """What ``text`` gave."""
        state, expiry, a1, a2, a3, a4, scopes, buckets, shard, node = raw.split(" ")
        amounts = Amounts(int(a1), int(a2), int(a3), int(a4))
        return cls(
            record_id, state, int(expiry), amounts, _names(scopes), _names(buckets), int(shard), node, entry
        )  # fmt: skip


@dataclass(frozen=True, slots=True)
class Answer:
    """To a reservation: ``ok`` under the generation ``gen``, ``closed`` (nothing is admitted for now), ``wait`` (others
    hold what may come back, or ``wait_s`` until the bucket has enough), or ``exhausted``; then which scope and
    dimension, its limit, and what is settled and reserved."""

    verdict: str
    gen: str = ""
    scope: str = ""
    dimension: int = 0
    limit: int = 0
    settled: int = 0
    reserved: int = 0
    wait_s: float | None = None

    @property
    def left(self) -> int:
        """What may still be reserved."""
        return self.limit - self.settled - self.reserved


class RedisBudgets:
    """The counters of one installation. Every method may raise ``Unavailable``; one for each thread is not needed."""

    def __init__(self, url: str, namespace: str) -> None:
        self._redis = connect(url)
        self._prefix = f"{Keys(namespace).prefix}budget:"
        self._marker = Keys(namespace).epoch
        self._script = load_script(self._redis, "budget")

    def close(self) -> None:
        """Close the connections."""
        self._redis.close()

    # --- of a worker ----------------------------------------------------------------------------

    @translated
    def reserve(
        self, token: str, record: Record, live_ms: int, scopes: Sequence[Scope], buckets: Sequence[Bucket]
    ) -> Answer:
        """Hold back ``record.amounts`` in all scopes and buckets, or in none. The same id again is the same."""
        limits = [(s.name, *(_limit(part) for part in s.limit), s.kept_s) for s in scopes]
        flows = [(b.name, min(b.capacity_nusd, MOST), b.refill_nusd_per_h) for b in buckets]
        reply = self._do(
            "reserve", token, record.id, record.shard, record.node, live_ms, *record.amounts, record.entry,
            len(limits), *chain.from_iterable(limits), *chain.from_iterable(flows),
        )  # fmt: skip
        verdict, *rest = [text(part) for part in cast("list[bytes]", reply)]
        if verdict in (OK, CLOSED):
            return Answer(verdict, rest[0] if rest else "")
        wait_ms = int(rest[5]) if len(rest) > 5 else -1
        return Answer(
            verdict, "", rest[0], int(rest[1]) - 1, int(rest[2]), int(rest[3]), int(rest[4]),
            wait_ms / 1000 if wait_ms >= 0 else None,
        )  # fmt: skip

    @translated
    def settle(self, gen: str, token: str, record_id: str, spent: Amounts, entry: str) -> str:
        """End a reservation: ``ok``; ``gone`` if the ledger has it by now; ``moved`` if Redis lost it since ``gen``.

        An empty ``entry`` gives all of it back. Again, it changes nothing.
        """
        return text(self._do("settle", gen, token, record_id, *spent, entry))

    @translated
    def owe(self, record: Record) -> None:
        """Of what this record counts in its scopes, a part may come back later."""
        self._do("owe", record.id, record.text())

    @translated
    def refund(self, record_id: str, spent: Amounts) -> bool:
        """Give back what is owed beyond ``spent``; ``False`` if nothing is, or it came back before."""
        return cast(int, self._do("refund", record_id, *spent)) == 1

    @translated
    def announce(self, gen: str, token: str, node: str, held: Iterable[tuple[Record, int]]) -> str:
        """Tell again all that an attempt holds and has spent (each with ms to live): ``ok`` or ``moved``."""
        told = [(record.id, live_ms, record.text(), record.entry) for record, live_ms in held]
        return text(self._do("announce", gen, token, node, *chain.from_iterable(told)))

    @translated
    def renew(self, gen: str, token: str, ids: Iterable[str], live_ms: int) -> str:
        """The calls of these reservations still run: they expire ``live_ms`` from now. ``ok`` or ``moved``."""
        return text(self._do("renew", gen, token, live_ms, *ids))

    @translated
    def reported(self, token: str) -> bool:
        """All entries of a delivery travel with its report: forget its records; ``False`` if they must stay."""
        return cast(int, self._do("reported", token)) == 1

    @translated
    def generation(self) -> str:
        """Server and content that budgets were last begun for; empty after a loss that no scheduler noticed yet."""
        found = cast("bytes | None", self._redis.get(f"{self._prefix}gen"))
        return "" if found is None else text(found)

    @translated
    def used(self, scopes: Sequence[str]) -> dict[str, tuple[Amounts, Amounts]] | None:
        """Settled and reserved in each scope; ``None`` while the counters do not hold."""
        with self._redis.pipeline() as pipe:
            pipe.get(f"{self._prefix}ready")
            gen = self.generation()
            for name in scopes:
                pipe.hmget(f"{self._prefix}{gen}:s:{name}", "s1", "s2", "s3", "s4", "r1", "r2", "r3", "r4")
            ready, *found = pipe.execute()
        if not gen or ready is None or text(ready) != gen:
            return None
        numbers = [[int(part or 0) for part in row] for row in found]
        return {name: (Amounts(*n[:4]), Amounts(*n[4:])) for name, n in zip(scopes, numbers, strict=True)}

    # --- of a scheduler -------------------------------------------------------------------------

    @translated
    def current(self) -> str:
        """The generation that this server with this content is: its run id and a marker that a flush takes away."""
        with self._redis.pipeline() as pipe:
            pipe.get(self._marker)
            pipe.info("server")
            marker, info = pipe.execute()
        return f"{server_run_id(info)}-{text(marker)}" if marker is not None else ""

    @translated
    def is_open(self, gen: str) -> bool:
        """Whether the counters hold for that generation."""
        found = cast("bytes | None", self._redis.get(f"{self._prefix}ready"))
        return found is not None and text(found) == gen

    @translated
    def begin(self, gen: str) -> None:
        """Nothing is admitted until ``open``; living workers tell what they hold to this generation."""
        before = cast("bytes | None", self._redis.set(f"{self._prefix}gen", gen, get=True))
        if before is not None and text(before) != gen:  # of a file that a server came back on: counts for nothing
            self._drop(text(before))

    def _drop(self, gen: str) -> None:
        name = f"{self._prefix}{gen}"
        tokens = cast("list[bytes]", self._redis.zrange(f"{name}:tokens", 0, -1))
        gone = [f"{name}:h:{text(each).partition(' ')[2]}" for each in tokens]
        gone += [f"{name}:s:{text(each)}" for each in cast("set[bytes]", self._redis.smembers(f"{name}:runs"))]
        gone += [f"{name}:{each}" for each in ("tokens", "open", "announced", "unknown", "runs")]
        for start in range(0, len(gone), _PAGE):
            self._redis.unlink(*gone[start : start + _PAGE])

    @translated
    def lock(self, gen: str, owner: str, seconds: float) -> bool:
        """Whether this scheduler alone may rebuild the counters now."""
        name = f"{self._prefix}{gen}:lock"
        taken = self._redis.set(name, owner, nx=True, px=int(seconds * 1000))
        return bool(taken) or text(self._redis.get(name) or b"") == owner

    @translated
    def announced(self, gen: str) -> set[str]:
        """Ids of all reservations that living workers told."""
        tokens = cast("list[bytes]", self._redis.zrange(f"{self._prefix}{gen}:tokens", 0, -1))
        ids: set[str] = set()
        for name in tokens:
            ids.update(record.id for record in self._held(gen, text(name).partition(" ")[2]))
        return ids

    @translated
    def write_sums(self, gen: str, sums: Mapping[Scope, Amounts], levels: Mapping[Bucket, int]) -> None:
        """What the ledger has of each scope, and what is in each bucket, before ``open``."""
        seconds, micros = self._redis.time()
        with self._redis.pipeline(transaction=False) as pipe:
            for scope, spent in sums.items():
                name = f"{self._prefix}{gen}:s:{scope.name}"
                pipe.hset(name, mapping=dict(zip(("s1", "s2", "s3", "s4"), spent, strict=True)))
                pipe.expire(name, scope.kept_s)
                if scope.name.startswith(_OF_RUNS):
                    pipe.sadd(f"{self._prefix}{gen}:runs", scope.name)
            for bucket, nusd in levels.items():
                now_us = seconds * 1_000_000 + micros
                name = f"{self._prefix}{gen}:b:{bucket.name}"
                pipe.hset(name, mapping={"level": nusd, "at_us": now_us})
                pipe.expire(name, Scope("").kept_s)
            pipe.execute()

    @translated
    def open(self, gen: str, stored: Iterable[str], unknown: Mapping[str, Record]) -> bool:
        """Add what was told and is not ``stored`` in the ledger, and ``unknown`` attempts that nobody spoke for; admit.

        ``False`` if Redis changed again meanwhile.
        """
        ids = list(stored)
        out = chain.from_iterable((node, record.text()) for node, record in unknown.items())
        return cast(int, self._do("open", gen, len(ids), *ids, *out)) == 1

    @translated
    def unknown(self, gen: str) -> dict[str, Record]:
        """The attempts that count at their ceiling because nobody spoke for them."""
        found = cast("dict[bytes, bytes]", self._redis.hgetall(f"{self._prefix}{gen}:unknown"))
        return {text(name): Record.parsed("?", text(raw)) for name, raw in found.items()}

    @translated
    def known(self, node: str, spent: Amounts) -> None:
        """Such an attempt has ended, and the ledger has this much of it."""
        self._do("known", node, *spent)

    @translated
    def looks(self, gen: str, owner: str, seconds: float) -> bool:
        """Whether this scheduler is the one that looks for runs that are over, for so long."""
        return bool(self._redis.set(f"{self._prefix}{gen}:looks", owner, nx=True, px=int(seconds * 1000)))

    @translated
    def of_runs(self, gen: str) -> set[str]:
        """The scopes of runs and their steps that there are counters of, but for those that are to go."""
        return {text(name) for name in cast("set[bytes]", self._redis.smembers(f"{self._prefix}{gen}:runs"))}

    @translated
    def forget(self, gen: str, scopes: Iterable[str], seconds: int) -> None:
        """Their runs are over: their counters go in so many seconds, late ends of calls still find them until then."""
        with self._redis.pipeline(transaction=False) as pipe:
            for name in scopes:
                pipe.expire(f"{self._prefix}{gen}:s:{name}", seconds)
                pipe.srem(f"{self._prefix}{gen}:runs", name)
            pipe.execute()

    @translated
    def tokens(self, shard: int) -> list[str]:
        """The shard's deliveries of which there are records, oldest first."""
        gen = self.generation()
        found = [text(n) for n in cast("list[bytes]", self._redis.zrange(f"{self._prefix}{gen}:tokens", 0, -1))]
        return [token for number, _, token in (name.partition(" ") for name in found) if int(number) == shard]

    @translated
    def held(self, token: str) -> list[Record]:
        """The records of a delivery."""
        return self._held(self.generation(), token)

    @translated
    def ledgered(self, shard: int, token: str, ids: Iterable[str]) -> bool:
        """These records are in the ledger, the open ones at their ceiling; ``False`` while the counters do not hold."""
        return cast(int, self._do("ledgered", shard, token, *ids)) == 1

    def _held(self, gen: str, token: str) -> list[Record]:
        raw = cast("dict[bytes, bytes]", self._redis.hgetall(f"{self._prefix}{gen}:h:{token}"))
        found = {text(name): text(value) for name, value in raw.items()}
        return [
            Record.parsed(name, value, found.get(f"e {name}", ""))
            for name, value in found.items()
            if not name.startswith("e ")
        ]

    def _do(self, verb: str, *arguments: Any) -> Any:
        return self._script(keys=[self._prefix], args=[verb, *arguments])


def settled(record: Record, spent: Amounts, entry: str) -> Record:
    """The record once it is known what was spent."""
    return replace(record, state="s", amounts=spent, entry=entry)


def _limit(part: int | None) -> int | str:
    return "" if part is None else min(part, MOST)


def _names(joined: str) -> tuple[str, ...]:
    return () if joined == "-" else tuple(joined.split(","))
