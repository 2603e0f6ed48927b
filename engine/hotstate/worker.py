"""Hot state as a worker sees it: claim, begin, report, and say that it is alive.

One object for each process; after a fork the child makes its own.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

import orjson
from redis.exceptions import NoScriptError

from engine.errors import Unavailable
from engine.hotstate.connection import connect, load_script, text, translated
from engine.hotstate.keys import Keys
from engine.hotstate.prefetches import WorkerPrefetches
from engine.runtime.ports import WorkerInfo
from engine.version import engine_version
from engine.wire import Report

_LONGEST_BLOCK_S = 5.0


@dataclass(frozen=True, slots=True)
class Held:
    """What became of a node of a delivery whose worker died.

    Parameters
    ----------
    known
        ``False`` if Redis is another by now and cannot say.
    ours
        Whether the permit still is this delivery's: neither reported, nor revoked, nor replaced.
    begun_us
        Redis' microsecond in which the body began; ``None`` if it did not.
    """

    known: bool
    ours: bool
    begun_us: int | None


class WorkerHotState:
    """What the worker pipeline asks of Redis.

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
        self._claim = load_script(self._redis, "claim")
        self._begin = load_script(self._redis, "begin")
        self._unbegin = load_script(self._redis, "unbegin")
        self._report = load_script(self._redis, "report")
        self._announce = load_script(self._redis, "announce")
        self._held = load_script(self._redis, "held")
        self._unread: Any = None  # the connection of reports whose answer is read later
        self.prefetches = WorkerPrefetches(self._redis, self._blocking, self._keys)

    def close(self) -> None:
        """Close the connections."""
        self._redis.close()
        self._blocking.close()

    @translated
    def claim(
        self,
        run_id: str,
        shard: int,
        fields: Sequence[str],
        token: str,
        epoch: str,
        nonce: str,
        lease_s: float,
        *,
        begin: bool = False,
    ) -> list[bool]:
        """Claim nodes of a delivery and lease it; for each field whether it is ours.

        With ``begin`` the first body may begin as well, now: then nothing is to come in between.
        ``nonce`` names this one execution: the same again is ours still (a lost reply), another is
        refused (a second delivery of the same message).
        """
        reply = self._claim(
            keys=[self._keys.permits(run_id), self._keys.leases(shard)],
            args=[token, epoch, nonce, int(lease_s * 1000), int(begin), *fields],
        )
        return [verdict == 1 for verdict in cast("list[int]", reply)]

    @translated
    def begin(self, run_id: str, fields: Sequence[str], token: str, epoch: str, nonce: str) -> list[bool]:
        """Whether each body may begin now: asked last, right before them."""
        verdicts = self._begin(keys=[self._keys.permits(run_id)], args=[token, epoch, nonce, *fields])
        return [verdict == 1 for verdict in cast("list[int]", verdicts)]

    @translated
    def unbegin(self, run_id: str, fields: Sequence[str], token: str, epoch: str, nonce: str) -> None:
        """Take back begin marks of bodies that did not begin: they are claimed, as before."""
        self._unbegin(keys=[self._keys.permits(run_id)], args=[token, epoch, nonce, *fields])

    @translated
    def report(self, shard: int, report: Report, ended: Iterable[str] = (), *, last: bool = False) -> None:
        """Append a report, delete the permits of the nodes it ends, and with ``last`` the lease.

        Repeating it after a lost reply appends a second copy, which the scheduler takes for a
        duplicate.
        """
        keys = [self._keys.reports(shard), self._keys.permits(report.run_id), self._keys.leases(shard)]
        self._report(keys=keys, args=[report.to_bytes(), report.token, int(last), *ended])

    @translated
    def report_unread(self, shard: int, report: Report, ended: Iterable[str]) -> Callable[[], None]:
        """Give Redis a delivery's last report and do not wait for its answer, which the callable returned reads.

        Once this returns the report is on its way, whatever becomes of this process. The callable raises
        ``Unavailable`` if it may not have arrived: then it is to be sent again, by ``report``. It is to be
        called before this is called again.
        """
        keys = [self._keys.reports(shard), self._keys.permits(report.run_id), self._keys.leases(shard)]
        connection = self._unread
        if connection is None:
            connection = self._unread = self._redis.connection_pool.get_connection()
        try:
            connection.send_command("EVALSHA", self._report.sha, 3, *keys, report.to_bytes(), report.token, 1, *ended)
        except BaseException:
            connection.disconnect()
            raise
        return translated(functools.partial(self._read_reply, connection))

    def _read_reply(self, connection: Any) -> None:
        try:
            connection.read_response()
        except NoScriptError as error:
            raise Unavailable("Redis has forgotten its scripts") from error
        except BaseException:
            connection.disconnect()
            raise

    @translated
    def append(self, shard: int, report: Report) -> None:
        """Append a report that ends nothing."""
        self._redis.xadd(self._keys.reports(shard), {"r": report.to_bytes()})

    @translated
    def wait_for_grant(self, token: str, wait_s: float) -> bool | None:
        """Whether the scheduler lets the body begin; ``None`` if it does not answer within ``wait_s``."""
        key = self._keys.grant(token)
        wait_s = max(0.01, min(wait_s, _LONGEST_BLOCK_S))  # BLPOP takes zero for ever
        answer = cast("tuple[bytes, bytes] | None", self._blocking.blpop([key], timeout=wait_s))
        if answer is None:
            return None
        self._redis.delete(key)
        return answer[1] == b"1"

    @translated
    def stop_requested(self, token: str) -> bool:
        """Whether the delivery's bodies were told to stop."""
        return self._redis.exists(self._keys.stop(token)) == 1

    @translated
    def stops_requested(self, tokens: Sequence[str]) -> set[str]:
        """Those of some deliveries whose bodies were told to stop."""
        flags = cast("list[bytes | None]", self._redis.mget([self._keys.stop(token) for token in tokens]))
        return {token for token, flag in zip(tokens, flags, strict=True) if flag is not None}

    @translated
    def announce(self, info: WorkerInfo, active: Mapping[str, int], lease_s: float) -> set[str]:
        """Renew the worker's own lease and those of ``active`` (token to shard); the tokens to stop."""
        tokens = list(active)
        keys = [self._keys.worker(info.name), self._keys.workers, self._keys.stop_prefix]
        told = {"queues": info.queues, "slots": info.slots, "version": engine_version(), "code": info.code}
        facts = orjson.dumps(told)
        stopped = self._announce(
            keys=[*keys, *(self._keys.leases(active[token]) for token in tokens)],
            args=[facts, info.name, int(lease_s * 1000), *tokens],
        )
        return {tokens[index - 1] for index in cast("list[int]", stopped)}

    @translated
    def let_go(self, ended: Mapping[str, int]) -> None:
        """Drop the leases of deliveries (token to shard) that ended, should a heartbeat have brought them back."""
        with self._redis.pipeline(transaction=False) as pipe:
            for token, shard in ended.items():
                pipe.zrem(self._keys.leases(shard), token)
            pipe.execute()

    @translated
    def outline(self, shard: int) -> str | None:
        """What the shard's scheduler has learned, as ``engine.learning.outline`` reads it; ``None`` if unknown."""
        found = cast("bytes | None", self._redis.get(self._keys.outline(shard)))
        return None if found is None else text(found)

    @translated
    def told_to_drain(self, name: str) -> bool:
        """Whether an operator wants this worker to finish what it has and leave."""
        return self._redis.exists(self._keys.drain(name)) == 1

    @translated
    def leave(self, name: str) -> None:
        """Say that the worker stops, so that nobody counts on it for another lease time."""
        with self._redis.pipeline() as pipe:
            pipe.delete(self._keys.worker(name), self._keys.drain(name))
            pipe.zrem(self._keys.workers, name)
            pipe.execute()

    @translated
    def held(self, run_id: str, fields: Sequence[str], token: str, epoch: str) -> list[Held]:
        """What became of each node of a delivery, asked after its worker died."""
        reply = self._held(keys=[self._keys.permits(run_id)], args=[token, epoch, *fields])
        marks = [int(text(mark)) for mark in cast("list[bytes]", reply)]
        return [Held(mark != -2, mark >= 0, mark if mark > 0 else None) for mark in marks]

    @translated
    def waiting(self, queues: Iterable[str]) -> int:
        """Messages waiting in these queues together."""
        with self._redis.pipeline(transaction=False) as pipe:
            for name in queues:
                for key in self._keys.queue(name):
                    pipe.llen(key)
            return sum(pipe.execute())
