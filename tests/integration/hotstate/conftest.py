"""Both faces of hot state on one real Redis."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from engine.hotstate.scheduler import RedisHotState
from engine.hotstate.worker import WorkerHotState
from tests.services.redis import RedisServer, _shared_redis, fragile_redis, redis_server

__all__ = ["_shared_redis", "fragile_redis", "redis_server"]


class Faces:
    """The scheduler's and a worker's face of the same Redis."""

    def __init__(self, server: RedisServer) -> None:
        self.server = server
        self.scheduler = RedisHotState(server.url, "t")
        self.worker = WorkerHotState(server.url, "t")
        self.epoch = self.scheduler.epoch()[0]

    def permit(self, field: str = "0:0", token: str = "tok", run_id: str = "r_1") -> None:
        self.scheduler.write_permits(self.epoch, [(run_id, field, token)])

    def claim(self, *fields: str, token: str = "tok", nonce: str = "n1", epoch: str | None = None) -> list[bool]:
        return self.worker.claim("r_1", 0, fields or ("0:0",), token, epoch or self.epoch, nonce, 10.0)

    def begin(self, field: str = "0:0", token: str = "tok", nonce: str = "n1") -> bool:
        return self.worker.begin("r_1", [field], token, self.epoch, nonce)[0]

    def close(self) -> None:
        self.scheduler.close()
        self.worker.close()


@pytest.fixture
def faces(redis_server: RedisServer) -> Iterator[Faces]:
    both = Faces(redis_server)
    yield both
    both.close()


@pytest.fixture
def fragile(fragile_redis: RedisServer) -> Iterator[Faces]:
    both = Faces(fragile_redis)
    yield both
    both.close()
