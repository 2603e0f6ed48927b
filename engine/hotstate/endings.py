"""Waiting for the end of a run without asking SQL all the time."""

from __future__ import annotations

from redis.client import PubSub

from engine.hotstate.connection import connect, translated
from engine.hotstate.keys import Keys


class Endings:
    """One run's channel, listened to from ``__init__`` on; close it. Every method may raise ``Unavailable``.

    A message may be missed, so what is waited for is looked up as well.
    """

    @translated
    def __init__(self, url: str, namespace: str, run_id: str) -> None:
        self._redis = connect(url)
        self._listener: PubSub = self._redis.pubsub()  # type: ignore[no-untyped-call]  # redis-py
        self._listener.subscribe(Keys(namespace).ended(run_id))
        self._listener.get_message(timeout=1.0)  # from its confirmation on nothing is missed

    @translated
    def wait(self, timeout_s: float) -> bool:
        """Whether the end was told within ``timeout_s`` seconds."""
        message = self._listener.get_message(ignore_subscribe_messages=True, timeout=timeout_s)
        return message is not None

    def close(self) -> None:
        """Close the connection."""
        self._listener.close()
        self._redis.close()
