"""An installation, as the scale tests have it."""

from __future__ import annotations

from tests.integration.scale.conftest import make
from tests.services.redis import _shared_redis, redis_server

__all__ = ["_shared_redis", "make", "redis_server"]
