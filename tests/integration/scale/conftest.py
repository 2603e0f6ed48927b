"""Installations on both databases, each with a Redis of its own."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from settings import load
from tests.integration.scale.installation import Installation
from tests.services.postgres import postgres
from tests.services.redis import RedisServer, _shared_redis, fragile_redis, redis_server

__all__ = ["_shared_redis", "fragile_redis", "postgres", "redis_server"]

Make = Callable[..., Installation]


@pytest.fixture
def make(redis_server: RedisServer, tmp_path: Path) -> Iterator[Make]:
    """Make an installation on SQLite, or with ``database_url`` on another database."""
    made: list[Installation] = []

    def build(**changes: Any) -> Installation:
        fields: dict[str, Any] = {
            "redis_url": redis_server.url, "namespace": "s", "home": tmp_path / "home",
            "task_modules": ("tasks", "tests.integration.scale.bodies"), "file_roots": (tmp_path,),
        } | changes  # fmt: skip
        made.append(Installation(load(**fields)))
        return made[-1]

    yield build
    for installation in made:
        installation.close()


@pytest.fixture
def installation(make: Make) -> Installation:
    """An installation on SQLite with no process yet."""
    return make()


@pytest.fixture(params=["sqlite", "postgres"])
def database(request: pytest.FixtureRequest) -> dict[str, str]:
    """Settings for either database."""
    if request.param == "sqlite":
        return {}
    return {"database_url": request.getfixturevalue("postgres").new_database()}
