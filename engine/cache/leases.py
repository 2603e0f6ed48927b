"""Signs of life of those who make an entry, so that whoever waits for it can tell a slow maker from a dead one."""

from __future__ import annotations

import logging
import threading

from engine.errors import Unavailable
from engine.hotstate.caching import CacheIndex

_LOG = logging.getLogger(__name__)


class Leases:
    """The leases that this process holds, renewed by one thread while there are any.

    Made after a fork, never carried over one: a thread is not.
    """

    def __init__(self, index: CacheIndex, lease_s: float) -> None:
        self.lease_s = lease_s
        self._index = index
        self._held: set[tuple[str, str]] = set()
        self._changed = threading.Condition()
        self._closed = False
        self._thread: threading.Thread | None = None

    def hold(self, digest: str, token: str) -> None:
        """Renew this lease from now on."""
        with self._changed:
            self._held.add((digest, token))
            if self._thread is None:
                # A daemon: what somebody still makes at the exit is for others to make again.
                self._thread = threading.Thread(target=self._run, name="cache-leases", daemon=True)
                self._thread.start()
            self._changed.notify()

    def let_go(self, digest: str, token: str) -> None:
        """Renew it no more."""
        with self._changed:
            self._held.discard((digest, token))

    def close(self) -> None:
        """Renew nothing any more."""
        with self._changed:
            self._closed = True
            self._changed.notify()
        if self._thread is not None:
            self._thread.join()

    def _run(self) -> None:
        while True:
            with self._changed:
                while not self._held and not self._closed:
                    self._changed.wait()
                self._changed.wait_for(lambda: self._closed, self.lease_s / 3)
                if self._closed:
                    return
                held = list(self._held)
            try:
                if held:
                    self._index.beat(held, self.lease_s)
            except Unavailable as error:
                _LOG.warning("leases of cache entries are not renewed: %s", error)
