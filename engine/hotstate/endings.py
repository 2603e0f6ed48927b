"""Waiting for the end of a run without asking SQL all the time."""

from __future__ import annotations

from redis.client import PubSub

from engine.hotstate.connection import connect, text, translated
from engine.hotstate.keys import Keys


class Endings:
    """Listens for the end of one run after the other, on one connection. For one thread; close it.

    Every method may raise ``Unavailable``: then it is of no more use. A message may be missed, so what is
    waited for is looked up as well.
    """

    @translated
    def __init__(self, url: str, namespace: str) -> None:
        self._keys = Keys(namespace)
        self._redis = connect(url)
        self._listener: PubSub = self._redis.pubsub()  # type: ignore[no-untyped-call]  # redis-py
        self._channel = ""

    @translated
    def listen(self, run_id: str) -> None:
        """Hear of this run's end, and of no other's, from now on."""
        if self._channel:
            self._listener.unsubscribe(self._channel)  # type: ignore[no-untyped-call]  # redis-py
        self._channel = self._keys.ended(run_id)
        self._listener.subscribe(self._channel)
        while (message := self._listener.get_message(timeout=1.0)) is not None:
            if message["type"] == "subscribe" and text(message["channel"]) == self._channel:
                return  # from its confirmation on nothing is missed

    @translated
    def wait(self, timeout_s: float) -> bool:
        """Whether the end was told within ``timeout_s`` seconds."""
        message = self._listener.get_message(ignore_subscribe_messages=True, timeout=timeout_s)
        return message is not None and text(message["channel"]) == self._channel

    def close(self) -> None:
        """Close the connection."""
        self._listener.close()
        self._redis.close()
