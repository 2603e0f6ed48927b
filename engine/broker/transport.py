"""kombu's Redis transport, mended where a lost connection ends the worker instead of its connection.

When Redis dies while Celery puts messages back or acknowledges one, a channel of the connection being
closed is asked for a client once more. kombu 5.7 then raises ``AttributeError: 'NoneType' object has no
attribute 'hostname'``, which nobody takes for a connection's error: the worker's main loop ends with
"Unrecoverable error" and exit code 1. Here it is what it is.
"""

from __future__ import annotations

from typing import Any

from kombu.transport import TRANSPORT_ALIASES
from kombu.transport import redis as kombu_redis


class Channel(kombu_redis.Channel):
    """A channel that says of a closed connection that it is closed."""

    def _connparams(self, asynchronous: bool = False) -> Any:
        if self.connection is None or self.connection.client is None:
            raise ConnectionError("the connection to Redis was closed")
        return super()._connparams(asynchronous)  # type: ignore[no-untyped-call]  # kombu says it is typed and is not


class Transport(kombu_redis.Transport):
    """What ``redis://`` and ``rediss://`` addresses stand for in this process."""

    Channel = Channel


def install() -> None:
    """Use this transport for every connection made from now on."""
    for scheme in ("redis", "rediss"):
        TRANSPORT_ALIASES[scheme] = f"{__name__}:Transport"
