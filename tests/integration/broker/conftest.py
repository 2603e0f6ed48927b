"""A Celery app on a real Redis."""

from __future__ import annotations

from pathlib import Path

import pytest
from celery import Celery

from engine.broker.app import make_app
from settings import Settings, load
from tests.services.redis import RedisServer, _shared_redis, fragile_redis, redis_server

__all__ = ["_shared_redis", "fragile_redis", "redis_server"]


def settings_for(server: RedisServer, home: Path) -> Settings:
    return load(redis_url=server.url, namespace="t", home=home)


@pytest.fixture
def app(redis_server: RedisServer, tmp_path: Path) -> Celery:
    return make_app(settings_for(redis_server, tmp_path))
