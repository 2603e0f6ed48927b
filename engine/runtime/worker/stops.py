"""Whether a delivery was told to stop: heard at once by a process whose bodies ask for it.

Bodies ask often, so that asking is a look into memory. The thread that listens begins with the first
body that asks a second time; what it may have missed is looked up in Redis now and then.
"""

from __future__ import annotations

import logging
import threading
import time
import weakref
from typing import TYPE_CHECKING

from engine.errors import Unavailable
from engine.hotstate.stops import StopChannel

if TYPE_CHECKING:
    from engine.runtime.worker.services import Services

_LOG = logging.getLogger(__name__)
POLL_S = 0.1
"""How often Redis is asked while nobody listens."""
HEARD_POLL_S = 1.0
"""How often it is asked all the same while somebody does."""
_WAIT_S = 5.0
_AGAIN_S = 1.0


class Listener:
    """Hears of stops for one process, from the first time that it is asked to."""

    def __init__(self, url: str, namespace: str) -> None:
        self._url, self._namespace = url, namespace
        self._lock = threading.Lock()
        self._flags: weakref.WeakSet[StopFlag] = weakref.WeakSet()
        self._started = False
        self.listening = False

    def hear_for(self, flag: StopFlag) -> None:
        """Set ``flag`` when its delivery is told to stop."""
        with self._lock:
            self._flags.add(flag)
            if not self._started:
                self._started = True
                threading.Thread(target=self._run, name="stops", daemon=True).start()

    def _run(self) -> None:
        channel = StopChannel(self._url, self._namespace)
        while True:
            try:
                channel.open()
                self.listening = True
                while True:
                    token = channel.next(_WAIT_S)
                    if token is not None:
                        self._tell(token)
            except Unavailable:
                self.listening = False  # bodies ask Redis themselves meanwhile
            except Exception:  # noqa: BLE001 - the next stop must be heard all the same
                self.listening = False
                _LOG.exception("stops")
            time.sleep(_AGAIN_S)

    def _tell(self, token: str) -> None:
        with self._lock:
            told = [flag for flag in self._flags if flag.token == token]
        for flag in told:
            flag.set()


class StopFlag:
    """Whether one delivery was told to stop."""

    def __init__(self, services: Services, token: str) -> None:
        self.token = token
        self._hot, self._listener = services.hot, services.stops
        self._next = 0.0
        self._asked = 0
        self._stopped = False

    def set(self) -> None:
        """It was."""
        self._stopped = True

    def __call__(self) -> bool:
        now = time.monotonic()
        if not self._stopped and now >= self._next:
            self._asked += 1
            if self._asked == 2:  # a body that asks once more will go on asking
                self._listener.hear_for(self)
            heard = self._asked >= 2 and self._listener.listening
            self._next = now + (HEARD_POLL_S if heard else POLL_S)  # what was told before it heard, this look finds
            try:
                self._stopped = self._stopped or self._hot.stop_requested(self.token)
            except Unavailable:  # nobody can tell a body to stop through a Redis that is away
                return False
        return self._stopped
