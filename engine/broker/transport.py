"""kombu's Redis transport, mended in three places, and with a wait that can be cut short.

When Redis dies while Celery puts messages back or acknowledges one, a channel of the connection being
closed is asked for a client once more. kombu 5.7 then raises ``AttributeError: 'NoneType' object has no
attribute 'hostname'``, which nobody takes for a connection's error: the worker's main loop ends with
"Unrecoverable error" and exit code 1. Here it is what it is.

And a channel that is closed waits for the reply to its last BRPOP, up to a second, because the reply
may be a message. Here it asks Redis to reply now.

And each message and each event had a client object made for it, which is a good part of what sending it
costs; here a channel keeps one.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from kombu.transport import TRANSPORT_ALIASES
from kombu.transport import redis as kombu_redis

_UNBLOCK_TRIES, _UNBLOCK_AGAIN_S = 20, 0.02


class Channel(kombu_redis.Channel):
    """A channel that says of a closed connection that it is closed, and can cut a wait short."""

    _named_socket: Any = None
    _client_id: int | None = None
    _acquired: Any = None

    @contextmanager
    def conn_or_acquire(self, client: Any = None) -> Iterator[Any]:
        """The channel's own client of its pool, or ``client`` if that is given."""
        if client:
            yield client
            return
        if self._acquired is None or self._acquired.connection_pool is not self.pool:  # the pool goes with an error
            self._acquired = self._create_client()  # type: ignore[no-untyped-call]  # kombu says it is typed and is not
        yield self._acquired

    def end_wait(self) -> None:
        """Have Redis answer a BRPOP that waits: with nothing, unless a message came before."""
        polling: Any = self._in_poll  # False, or the connection that waits
        if not polling or self._client_id is None or polling._sock is not self._named_socket:
            return
        with self.conn_or_acquire() as client:
            for _ in range(_UNBLOCK_TRIES):
                # Asked over another connection, Redis may see this before the BRPOP: then it unblocks nobody.
                if client.client_unblock(self._client_id) or polling.can_read(timeout=_UNBLOCK_AGAIN_S):
                    return

    def cut_wait(self) -> None:
        """Ask Redis once to answer a BRPOP that has waited for a while. Its answer is read as any other."""
        polling: Any = self._in_poll
        if polling and self._client_id is not None and polling._sock is self._named_socket:
            with self.conn_or_acquire() as client:
                client.client_unblock(self._client_id)

    def _brpop_start(self, timeout: float | None = None) -> None:
        connection = self.client.connection
        if connection._sock is None or connection._sock is not self._named_socket:
            self._learn_client_id(connection)
        super()._brpop_start(timeout)  # type: ignore[no-untyped-call]  # kombu says it is typed and is not

    def _learn_client_id(self, connection: Any) -> None:
        connection.send_command("CLIENT", "ID")
        try:
            self._client_id = int(connection.read_response())
        except self.ResponseError:  # a server that lets us not: then closing waits
            self._client_id = None
        self._named_socket = connection._sock

    def _connparams(self, asynchronous: bool = False) -> Any:
        if self.connection is None or self.connection.client is None:
            raise ConnectionError("the connection to Redis was closed")
        return super()._connparams(asynchronous)  # type: ignore[no-untyped-call]  # as above


class Transport(kombu_redis.Transport):
    """What ``redis://`` and ``rediss://`` addresses stand for in this process."""

    Channel = Channel


def install() -> None:
    """Use this transport for every connection made from now on."""
    for scheme in ("redis", "rediss"):
        TRANSPORT_ALIASES[scheme] = f"{__name__}:Transport"


def end_waits(connection: Any) -> None:
    """Cut short what the channels of a kombu connection wait for. For a connection that works."""
    for channel in tuple(connection.transport.cycle._channels):
        if isinstance(channel, Channel):
            channel.end_wait()
