"""The index of the cache in Redis: entries, the tags that make them stale, and who is making which.

Held to a byte bound: Redis counts what entries and tags take, and those used least lately make room. What
an entry's text means is the cache's own business, and so is when to ask.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib import resources
from typing import Any, cast

from redis.commands.core import Script

from engine.hotstate.connection import Client, connect, text, translated
from engine.hotstate.keys import Keys

_LONGEST_BLOCK_S = 5.0
_MISS, _HIT = 0, 1
_SCAN_AT_ONCE = 500
_RESTORE_AT_ONCE = 200


@dataclass(frozen=True, slots=True)
class Stamp:
    """A moment in the life of the index: which incarnation of it, and how many invalidations that had seen."""

    incarnation: str
    number: int


@dataclass(frozen=True, slots=True)
class Looked:
    """What a look found: ``hit``, an entry's text; else ``begun``, the asker's to make it; else neither.

    ``wait_s`` are then the seconds for which somebody else has the lease to make it, if it does not renew it.
    """

    hit: bytes | None = None
    begun: Stamp | None = None
    wait_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Restored:
    """An entry as it comes back from SQL; times in seconds."""

    digest: str
    ttl_s: float
    age_s: float
    body: bytes
    tags: tuple[str, ...]


class CacheIndex:
    """The index of one installation. Safe for threads; every method may raise ``Unavailable``.

    Parameters
    ----------
    url, namespace
        Address of Redis, and the prefix of every key.
    limit_bytes
        What entries and tags may take.
    """

    def __init__(self, url: str, namespace: str, limit_bytes: int) -> None:
        self._keys = Keys(namespace)
        self._redis = connect(url)
        self._blocking = connect(url, block_s=_LONGEST_BLOCK_S)
        self._limit = limit_bytes
        names = ("look", "keep", "release", "beat", "write", "restore", "clear", "state")
        self._scripts = {name: _load(self._redis, name) for name in names}

    def close(self) -> None:
        """Close the connections."""
        self._redis.close()
        self._blocking.close()

    @translated
    def look(self, digest: str, token: str, lease_s: float, tags: Sequence[str] = ()) -> Looked:
        """An entry that holds still, or the lease to make it under ``token``; 0 seconds only looks.

        ``tags`` are looked at besides the entry's own: a plan may name more than when it was kept.
        """
        reply = cast("list[Any]", self._run("look", digest, token, int(lease_s * 1000), *tags))
        if reply[0] == _HIT:
            return Looked(hit=reply[1])
        if reply[0] == _MISS:
            return Looked(begun=Stamp(text(reply[1]), int(reply[2])))
        return Looked(wait_s=max(0.0, reply[1] / 1000))

    @translated
    def keep(self, digest: str, token: str, begun: Stamp, ttl_s: float, body: bytes, tags: Sequence[str] = ()) -> bool:
        """Keep what was made since ``begun`` and give the lease back; whether it holds still."""
        args = (digest, token, begun.incarnation, begun.number, int(ttl_s * 1000), self._limit, body, *tags)
        return cast(int, self._run("keep", *args)) == 1

    @translated
    def release(self, digest: str, token: str) -> None:
        """Give the lease back: whoever waits may take it."""
        self._run("release", digest, token)

    @translated
    def beat(self, leases: Sequence[tuple[str, str]], lease_s: float) -> list[bool]:
        """Hold leases (digest, token) for longer; which are held still."""
        parts = [part for lease in leases for part in lease]
        return [held == 1 for held in cast("list[int]", self._run("beat", int(lease_s * 1000), *parts))]

    @translated
    def wait(self, token: str, wait_s: float) -> bool:
        """Wait until the maker that ``token`` waits for is done; ``False`` if it is not within ``wait_s``."""
        wait_s = max(0.01, min(wait_s, _LONGEST_BLOCK_S))  # BLPOP takes zero for ever
        return self._blocking.blpop([self._keys.told(token)], timeout=wait_s) is not None

    @translated
    def invalidate(self, tags: Sequence[str]) -> Stamp:
        """Whatever was begun before and has one of these tags is stale. At least one tag."""
        return self._written("bump", "", 0.0, tags)

    @translated
    def open_write(self, tags: Sequence[str], token: str, at_most_s: float) -> Stamp:
        """A body is about to change what these tags stand for: nothing begun until its end is kept."""
        return self._written("open", token, at_most_s, tags)

    @translated
    def close_write(self, tags: Sequence[str], token: str) -> Stamp:
        """It has; whatever was begun before is stale."""
        return self._written("close", token, 0.0, tags)

    @translated
    def incarnation(self) -> str:
        """Names this life of the index; another after Redis was restarted, replaced or flushed."""
        return str(self._state()["incarnation"])

    @translated
    def state(self) -> dict[str, int]:
        """What is in it: ``entries``, ``tags``, ``bytes``, ``hits``, ``misses`` and ``evicted`` of this incarnation."""
        found = self._state()
        counted = {name: int(found.get(name, 0)) for name in ("entries", "tags", "hits", "misses", "evicted")}
        return counted | {"bytes": int(found.get("bytes", 0)) + int(found.get("tag_bytes", 0))}

    @translated
    def restore(self, incarnation: str, entries: Sequence[Restored]) -> int | None:
        """Bring entries back, unless what they depend on was written meanwhile.

        How many are kept; ``None`` if the incarnation is not ``incarnation`` any more.
        """
        kept = 0
        for start in range(0, len(entries), _RESTORE_AT_ONCE):
            with self._redis.pipeline(transaction=False) as pipe:
                for entry in entries[start : start + _RESTORE_AT_ONCE]:
                    times = (max(1, int(entry.ttl_s * 1000)), max(0, int(entry.age_s * 1000)))
                    args: tuple[Any, ...] = (incarnation, entry.digest, *times, self._limit, entry.body, *entry.tags)
                    self._scripts["restore"](keys=self._keys.cache(), args=args, client=pipe)
                replies = pipe.execute()
            if -1 in replies:
                return None
            kept += sum(replies)
        return kept

    @translated
    def clear(self) -> int:
        """Drop every entry, and whatever is being made now; how many entries went."""
        return cast(int, self._run("clear"))

    @translated
    def drop(self, digests: Sequence[str]) -> int:
        """Drop these entries; how many there were."""
        return cast(int, self._run("clear", *digests)) if digests else 0

    def scan(self) -> Iterator[tuple[str, bytes]]:
        """Digest and text of every entry, in no order; those that come or go meanwhile may be left out."""
        cursor = 0
        while True:
            cursor, found = self._scan(cursor)
            for digest, blob in found.items():
                head, _, rest = blob.partition(b"\n")
                yield text(digest), rest.split(b"\n", int(head.split(b" ")[2]))[-1]
            if cursor == 0:
                return

    @translated
    def _scan(self, cursor: int) -> tuple[int, dict[bytes, bytes]]:
        return cast(
            "tuple[int, dict[bytes, bytes]]", self._redis.hscan(self._keys.cache()[1], cursor, count=_SCAN_AT_ONCE)
        )

    def _state(self) -> dict[str, Any]:
        reply = cast("list[Any]", self._run("state"))
        return {text(reply[i]): text(reply[i + 1]) for i in range(0, len(reply), 2)}

    def _written(self, how: str, token: str, open_s: float, tags: Sequence[str]) -> Stamp:
        incarnation, number = cast("list[Any]", self._run("write", how, token, int(open_s * 1000), self._limit, *tags))
        return Stamp(text(incarnation), int(number))

    def _run(self, name: str, *args: Any) -> Any:
        return self._scripts[name](keys=self._keys.cache(), args=args)


def _load(client: Client, name: str) -> Script:
    """A script of the cache, behind what they all begin with."""
    scripts = resources.files(__package__).joinpath("scripts")
    parts = [scripts.joinpath(f"{part}.lua").read_text("utf-8") for part in ("cache", f"cache_{name}")]
    return client.register_script("\n".join(parts))
