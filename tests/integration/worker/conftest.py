"""A bench for each test, with one shared Redis a module."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from settings import Settings, load
from tests.services.redis import RedisServer, _shared_redis, fragile_redis, redis_server
from tests.services.worker import Bench

__all__ = ["_shared_redis", "fragile_redis", "redis_server"]


def settings_for(server: RedisServer, home: Path, **changes: Any) -> Settings:
    fields: dict[str, Any] = {
        "redis_url": server.url, "namespace": "t", "home": home, "task_modules": ("tests.integration.worker.bodies",),
        "heartbeat_s": 0.2, "worker_lease_s": 2.0, "grant_timeout_s": 3.0, "stop_grace_s": 5.0,
        "begin_mark_after_s": 0.2,
    } | changes  # fmt: skip
    return load(**fields)


@pytest.fixture
def bench(redis_server: RedisServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bench]:
    monkeypatch.setenv("FLYWHEEL_SECRET_API_KEY", "swordfish-7/&")
    made = Bench(redis_server, settings_for(redis_server, tmp_path))
    yield made
    made.close()


@pytest.fixture
def fragile_bench(fragile_redis: RedisServer, tmp_path: Path) -> Iterator[Bench]:
    made = Bench(fragile_redis, settings_for(fragile_redis, tmp_path))
    yield made
    made.close()
