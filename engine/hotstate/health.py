"""What an operator must know of Redis: version, what survives a restart, what it does when full, its clock."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

import orjson

from engine.hotstate.connection import connect, text, translated
from engine.hotstate.keys import Keys


@dataclass(frozen=True, slots=True)
class RedisHealth:
    """A Redis that answers.

    Parameters
    ----------
    appends, snapshots
        Whether it keeps an append-only file, or writes snapshots by a rule of its own (``None``: it does not tell).
    write_error
        What its last write to disk failed with; empty if it did not.
    eviction
        Its ``maxmemory-policy``; ``memory_limit`` is 0 where there is none, in bytes as ``memory_used``.
    skew_s
        Its clock less this host's, in seconds.
    versions
        Engine version each live worker announced, by the worker's name; empty where it did not.
    """

    version: str
    run_id: str
    appends: bool
    snapshots: bool | None
    write_error: str
    eviction: str
    memory_used: int
    memory_limit: int
    replica: bool
    skew_s: float
    versions: dict[str, str]


@translated
def redis_health(url: str, namespace: str) -> RedisHealth:
    """Ask the Redis at ``url``. Raises ``Unavailable``."""
    client = connect(url)
    try:
        info: dict[str, Any] = client.info()
        asked = time.time()
        seconds, micros = client.time()
        skew_s = seconds + micros / 1e6 - (asked + time.time()) / 2
        return RedisHealth(
            version=str(info["redis_version"]), run_id=str(info["run_id"]), appends=bool(info.get("aof_enabled")),
            snapshots=_snapshots(client), write_error=_write_error(info),
            eviction=str(info.get("maxmemory_policy", "unknown")), memory_used=int(info.get("used_memory", 0)),
            memory_limit=int(info.get("maxmemory", 0)), replica=info.get("role") == "slave", skew_s=skew_s,
            versions=_versions(client, Keys(namespace)),
        )  # fmt: skip
    finally:
        client.close()


def _snapshots(client: Any) -> bool | None:
    try:
        return bool(client.config_get("save").get("save"))
    except Exception:  # noqa: BLE001 - hosted servers forbid CONFIG, each with an error of its own
        return None


def _write_error(info: dict[str, Any]) -> str:
    names = {"aof_last_write_status": "append-only file", "rdb_last_bgsave_status": "snapshot"}
    failed = [what for field, what in names.items() if info.get(field, "ok") != "ok"]
    return f"the last write of its {' and its '.join(failed)} failed" if failed else ""


def _versions(client: Any, keys: Keys) -> dict[str, str]:
    names = [text(name) for name in client.zrange(keys.workers, 0, -1)]
    told = client.mget([keys.worker(name) for name in names]) if names else []
    return {
        name: str(orjson.loads(raw).get("version", ""))
        for name, raw in zip(names, told, strict=True)
        if raw is not None
    }
