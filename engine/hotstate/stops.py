"""Tokens of deliveries whose bodies were told to stop, as they are told: a channel beside the flags.

Lost where nobody listens, so that whoever listens looks at the flags as well.
"""

from __future__ import annotations

from typing import Any

from engine.hotstate.connection import connect, text, translated
from engine.hotstate.keys import Keys


class StopChannel:
    """One subscription, of one thread. ``url`` is the address of Redis, ``namespace`` the prefix of every key."""

    def __init__(self, url: str, namespace: str) -> None:
        self._channel = Keys(namespace).stops
        self._redis = connect(url, block_s=5.0)
        self._pubsub: Any = None

    @translated
    def open(self) -> None:
        """Subscribe; what is told from now on comes."""
        self.close()
        self._pubsub = self._redis.pubsub()  # type: ignore[no-untyped-call]  # redis-py says nothing of it
        self._pubsub.subscribe(self._channel)
        self._pubsub.get_message(timeout=5.0)

    @translated
    def next(self, timeout_s: float) -> str | None:
        """The next token; ``None`` if none came within ``timeout_s`` seconds."""
        message = self._pubsub.get_message(ignore_subscribe_messages=True, timeout=timeout_s)
        return None if message is None or message["type"] != "message" else text(message["data"])

    def close(self) -> None:
        """End the subscription."""
        if self._pubsub is not None:
            self._pubsub.close()
            self._pubsub = None
