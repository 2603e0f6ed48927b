"""Whether an installation can work: a scheduler answers, and every queue has a worker.

It asks on the way that work takes itself: a wake-up in the shard's stream that the scheduler deletes,
and the workers' own announcements.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable

from engine.errors import Unavailable
from engine.hotstate.scheduler import RedisHotState
from settings import Settings

_POLL_S = 0.05


def wait_ready(
    settings: Settings, timeout_s: float, give_up: Callable[[], object] = lambda: None, queues: Iterable[str] = ()
) -> bool:
    """Wait until every shard has a scheduler and every queue a worker; whether that came to be.

    Raises
    ------
    Unavailable
        Redis is away, or not everything has come up within ``timeout_s``; the message says what.
    """
    assert settings.redis_url is not None
    hot = RedisHotState(settings.redis_url, settings.namespace)
    try:
        for shard in range(settings.shards):
            hot.wake(shard)
        deadline = time.monotonic() + timeout_s
        while missing := _missing(hot, settings, tuple(queues) or settings.queues):
            if give_up():
                return False
            if time.monotonic() > deadline:
                raise Unavailable(f"not ready after {timeout_s:g} s: {', '.join(missing)}")
            time.sleep(_POLL_S)
        return True
    finally:
        hot.close()


def _missing(hot: RedisHotState, settings: Settings, queues: tuple[str, ...]) -> list[str]:
    served = {queue for worker in hot.workers() for queue in worker.queues}
    missing = [f"no worker for queue {queue}" for queue in queues if queue not in served]
    silent = [shard for shard in range(settings.shards) if hot.read_reports(shard, "0", 1, 0.0)]
    return missing + [f"no scheduler for shard {shard}" for shard in silent]
