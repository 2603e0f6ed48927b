"""Hot state as the scheduler sees it: permits to give and take, reports to read, slots to share.

Nothing here decides: every method does one thing in Redis, in one round trip where it can, and says
what it found.
"""

from __future__ import annotations

import logging
import secrets
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from itertools import chain, islice
from typing import Any, TypeVar, cast

import orjson

from engine.errors import Unavailable
from engine.hotstate.connection import call_each, connect, load_script, server_run_id, text, translated
from engine.hotstate.keys import Keys
from engine.runtime.ports import PermitView, WorkerInfo
from engine.wire import Report, ReportKind, prefetch_field

_LOG = logging.getLogger(__name__)
_STOP_TTL_S = 3600
_GRANT_TTL_S = 60
_DRAIN_TTL_S = 3600
_LONGEST_BLOCK_S = 30.0
_BATCH = 2000

T = TypeVar("T")


class RedisHotState:
    """``ports.HotState`` on a real Redis. One for each thread that blocks in ``read_reports``.

    Parameters
    ----------
    url
        Address of Redis.
    namespace
        Prefix of every key.
    """

    def __init__(self, url: str, namespace: str) -> None:
        self._keys = Keys(namespace)
        self._redis = connect(url)
        self._blocking = connect(url, block_s=_LONGEST_BLOCK_S)
        self._lead = load_script(self._redis, "lead")
        self._write_permits = load_script(self._redis, "write_permits")
        self._revoke_run = load_script(self._redis, "revoke_run")
        self._take_back = load_script(self._redis, "take_back")
        self._admit = load_script(self._redis, "admit")
        self._take_tokens = load_script(self._redis, "take_tokens")

    def close(self) -> None:
        """Close the connections."""
        self._redis.close()
        self._blocking.close()

    @translated
    def epoch(self) -> tuple[str, str]:
        """The server's run id, and the marker that a flush takes away."""
        with self._redis.pipeline() as pipe:
            pipe.set(self._keys.epoch, secrets.token_hex(8), nx=True)
            pipe.get(self._keys.epoch)
            pipe.info("server")
            _, marker, info = pipe.execute()
        return server_run_id(info), text(marker)

    @translated
    def lead(self, shard: int, leader: int, marker: str) -> bool:
        """Take only permits of the scheduler with the fencing epoch ``leader``, or of a later one."""
        return cast(int, self._lead(keys=[self._keys.fence(shard), self._keys.epoch], args=[leader, marker])) == 1

    @translated
    def write_permits(
        self, epoch: str, permits: Iterable[tuple[str, str, str]], fence: tuple[int, int] | None = None
    ) -> None:
        """Store permits (run id, field, token); a newer token makes the older delivery stale.

        ``fence`` is the shard and the fencing epoch of the scheduler that writes; raises
        ``Unavailable`` if it does not lead.
        """
        by_run: dict[str, dict[str, str]] = {}
        for run_id, field, token in permits:
            by_run.setdefault(run_id, {})[field] = f"p {token} {epoch}"
        if fence is None:
            with self._redis.pipeline(transaction=False) as pipe:
                for run_id, mapping in by_run.items():
                    pipe.hset(self._keys.permits(run_id), mapping=dict[Any, Any](mapping))
                pipe.execute()
            return
        shard, leader = fence
        taken = call_each(
            self._redis,
            self._write_permits,
            (
                (
                    [self._keys.fence(shard), self._keys.permits(run_id), self._keys.permitted(shard)],
                    [leader, run_id, *chain.from_iterable(part)],
                )
                for run_id, mapping in by_run.items()
                for part in _batches(mapping.items())
            ),
        )
        if not all(taken):
            raise Unavailable(f"permits of shard {shard} are not taken: this scheduler does not lead it in Redis")

    @translated
    def permits(self, run_id: str, epoch: str) -> dict[str, PermitView]:
        """A run's permits under that epoch, by field."""
        found = cast("dict[bytes, bytes]", self._redis.hgetall(self._keys.permits(run_id)))
        parts = {text(field): text(permit).split(" ") for field, permit in found.items()}
        return {
            field: PermitView(part[1], part[0] != "p", part[0] == "b")
            for field, part in parts.items()
            if part[2] == epoch
        }

    @translated
    def take_back(
        self, run_id: str, fields: Sequence[str], token: str, fence: tuple[int, int] | None = None
    ) -> list[str]:
        """Delete those of the permits that ``token`` holds and whose bodies have not begun; which.

        ``fence`` is as in ``write_permits``.
        """
        shard, leader = (0, "") if fence is None else fence
        keys = [self._keys.fence(shard), self._keys.permits(run_id)]
        reply = self._take_back(keys=keys, args=[leader, token, *fields])
        if reply is None:
            raise Unavailable(f"permits of shard {shard} are not taken back: this scheduler does not lead it in Redis")
        return [text(field) for field in cast("list[bytes]", reply)]

    @translated
    def revoke_run(self, shard: int, run_id: str) -> tuple[float, list[str]]:
        """Delete every permit of a run; seconds since its youngest body began (``inf`` if none), and which had."""
        keys = [self._keys.permits(run_id), self._keys.permitted(shard)]
        since_ms, *begun = cast("list[Any]", self._revoke_run(keys=keys, args=[run_id]))
        return float("inf") if since_ms < 0 else since_ms / 1000, [text(field) for field in begun]

    @translated
    def permitted_runs(self, shard: int) -> set[str]:
        """The shard's runs that have permits."""
        return {text(run_id) for run_id in cast("set[bytes]", self._redis.smembers(self._keys.permitted(shard)))}

    @translated
    def tell_end(self, run_id: str) -> None:
        """Tell whoever waits that a run's end is stored; those who miss it look at SQL now and then."""
        self._redis.publish(self._keys.ended(run_id), b"1")

    @translated
    def stop(self, tokens: Iterable[str]) -> None:
        """Tell running bodies to stop."""
        with self._redis.pipeline(transaction=False) as pipe:
            for token in tokens:
                pipe.set(self._keys.stop(token), 1, ex=_STOP_TTL_S)
                pipe.publish(self._keys.stops, token)
            pipe.execute()

    @translated
    def drop_prefetches(self, run_id: str, tokens: Mapping[int, str]) -> None:
        """Take back what reads ahead for steps of a run (number to token), and delete what it has brought."""
        with self._redis.pipeline() as pipe:
            pipe.hdel(self._keys.permits(run_id), *map(prefetch_field, tokens))
            pipe.delete(*map(self._keys.ahead, tokens.values()))
            pipe.execute()

    @translated
    def grant(self, token: str, allowed: bool) -> None:
        """Answer a body that asked to begin."""
        with self._redis.pipeline() as pipe:
            pipe.lpush(self._keys.grant(token), "1" if allowed else "0")
            pipe.expire(self._keys.grant(token), _GRANT_TTL_S)
            pipe.execute()

    @translated
    def read_reports(self, shard: int, after: str, count: int, block_s: float) -> Sequence[tuple[str, Report | None]]:
        """Up to ``count`` reports after entry ``after`` (``"0"`` for all), waiting for the first.

        After a flush ids may start lower: begin again from ``"0"`` whenever the marker changed.
        """
        # BLOCK 0 would wait for ever, so that no wait at all is a call without it.
        block_ms = min(int(block_s * 1000), int(_LONGEST_BLOCK_S * 1000)) or None
        streams: dict[Any, Any] = {self._keys.reports(shard): after}
        reply = cast("list[Any]", self._blocking.xread(streams, count=count, block=block_ms))
        if not reply:
            return []
        return [(text(entry), _parsed(entry, fields)) for entry, fields in reply[0][1]]

    @translated
    def delete_reports(self, shard: int, entries: Sequence[str]) -> None:
        """Delete entries whose effect is committed."""
        for part in _batches(entries):
            self._redis.xdel(self._keys.reports(shard), *part)

    @translated
    def wake(self, shard: int, run_id: str = "") -> None:
        """Tell the shard's scheduler to look at SQL now, at a new run if one is named; never needed for correctness."""
        self._redis.xadd(self._keys.reports(shard), {"r": Report(ReportKind.WAKE, run_id=run_id).to_bytes()})

    @translated
    def leases(self, shard: int) -> dict[str, float]:
        """A stamp for each claimed delivery, which changes whenever its worker announces it."""
        entries = cast(
            "list[tuple[bytes, float]]", self._redis.zrange(self._keys.leases(shard), 0, -1, withscores=True)
        )
        return {text(token): stamp for token, stamp in entries}

    @translated
    def drop_leases(self, shard: int, tokens: Iterable[str]) -> None:
        """Forget leases that ended or whose attempt was given up."""
        for part in _batches(tokens):
            self._redis.zrem(self._keys.leases(shard), *part)

    @translated
    def queue_lengths(self, queues: Iterable[str]) -> dict[str, int]:
        """Messages waiting in each queue, over all priority steps."""
        names = list(queues)
        with self._redis.pipeline(transaction=False) as pipe:
            for name in names:
                for key in self._keys.queue(name):
                    pipe.llen(key)
            lengths = iter(pipe.execute())
        return {name: sum(next(lengths) for _ in self._keys.queue(name)) for name in names}

    @translated
    def workers(self) -> Sequence[WorkerInfo]:
        """The workers that announced themselves within the last lease time, by name."""
        names = sorted(text(name) for name in cast("list[bytes]", self._redis.zrange(self._keys.workers, 0, -1)))
        if not names:
            return []
        found = cast("list[bytes | None]", self._redis.mget([self._keys.worker(name) for name in names]))
        told = [(name, orjson.loads(raw)) for name, raw in zip(names, found, strict=True) if raw is not None]
        return [
            WorkerInfo(name, tuple(facts["queues"]), int(facts["slots"]), str(facts.get("code", "")))
            for name, facts in told
        ]

    @translated
    def drain(self, worker: str) -> None:
        """Tell a worker, by its full name, to take nothing new, finish what it has, and leave."""
        self._redis.set(self._keys.drain(worker), 1, ex=_DRAIN_TTL_S)

    @translated
    def admit(self, pool: str, limit: int, shard: int, in_use: int, want: int) -> int:
        """Take up to ``want`` slots of a pool; ``in_use`` is what this shard holds in truth."""
        keys = [self._keys.pool(pool), self._keys.pools]
        return cast(int, self._admit(keys=keys, args=[shard, in_use, limit, want, pool]))

    @translated
    def release_pools(self, shard: int, shards: int | None, used: Collection[str]) -> None:
        """Take away what ``shard`` holds of pools that are not ``used``, and what shards hold that are no more."""
        pools = sorted(text(name) for name in cast("set[bytes]", self._redis.smembers(self._keys.pools)))
        with self._redis.pipeline(transaction=False) as pipe:
            for pool in pools:
                pipe.hkeys(self._keys.pool(pool))
            holders = pipe.execute()
            for pool, found in zip(pools, holders, strict=True):
                for holder in map(int, found):
                    if (holder == shard and pool not in used) or (shards is not None and holder >= shards):
                        pipe.hdel(self._keys.pool(pool), str(holder))
            pipe.execute()

    @translated
    def take_tokens(self, bucket: str, per_s: float, burst: int, want: int) -> tuple[int, float]:
        """Take up to ``want`` tokens; how many were granted, and seconds until there is another."""
        reply = self._take_tokens(keys=[self._keys.bucket(bucket)], args=[per_s, burst, want])
        granted, wait_ms = cast("list[int]", reply)
        return granted, wait_ms / 1000

    @translated
    def write_outline(self, shard: int, outline: str) -> None:
        """Tell workers what the shard has learned, in place of what they were told before."""
        self._redis.set(self._keys.outline(shard), outline)


def _batches(items: Iterable[T]) -> Iterator[list[T]]:
    iterator = iter(items)
    while part := list(islice(iterator, _BATCH)):
        yield part


def _parsed(entry: Any, fields: Any) -> Report | None:
    try:
        return Report.from_bytes(dict(fields)[b"r"])
    except (KeyError, ValueError, TypeError, AttributeError) as error:
        _LOG.error("report %s cannot be read and is dropped: %r", text(entry), error)
        return None
