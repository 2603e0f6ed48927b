"""A connection that is closed under a channel is a connection's error, which Celery's worker survives."""

from __future__ import annotations

from typing import Any

import pytest

from engine.broker.app import make_app
from settings import load
from tests.services.redis import RedisServer


def test_a_channel_of_a_closed_connection_raises_what_a_worker_survives(redis_server: RedisServer) -> None:
    connection: Any = make_app(load(redis_url=redis_server.url)).connection_for_write()
    channel = connection.default_channel
    errors = connection.connection_errors
    connection.transport.client = None  # as kombu leaves it when another part of the worker closed it first
    channel._pool = None
    with pytest.raises(errors, match="closed"), channel.conn_or_acquire():
        pass
    connection.close()
