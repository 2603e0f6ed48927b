"""What the pipeline works with, made anew in each process that runs bodies."""

from __future__ import annotations

import logging
import mmap
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from engine.artefacts.store import ArtefactStore
from engine.clock import Clock, SystemClock
from engine.errors import Unavailable
from engine.hotstate.worker import WorkerHotState
from engine.plan.registry import Registry
from engine.runtime.masking import Masker
from engine.runtime.worker.secrets import Secrets
from engine.runtime.worker.stops import Listener
from settings import Settings

_LOG = logging.getLogger(__name__)
TILL = "budgets"
"""Where a process keeps what its budgets share, among what it keeps."""
_FIRST_WAIT_S, _LONGEST_WAIT_S = 0.05, 1.0


class ShutdownSign:
    """Whether the worker is stopping: one byte of a page that forked children share with their parent."""

    def __init__(self) -> None:
        self._page = mmap.mmap(-1, 1)

    def set(self) -> None:
        """From now on nothing is begun that has not begun."""
        self._page[0] = 1

    def is_set(self) -> bool:
        return self._page[0] == 1


@dataclass(frozen=True, slots=True)
class Services:
    """One process's connections and what all its attempts share.

    Parameters
    ----------
    name
        The worker's name, as reports give it.
    recycle
        Called with a reason when this process has to be replaced.
    """

    settings: Settings
    registry: Registry
    hot: WorkerHotState
    artefacts: ArtefactStore
    name: str
    shutdown: ShutdownSign
    recycle: Callable[[str], None]
    masker: Masker = field(default_factory=Masker)
    clock: Clock = field(default_factory=SystemClock)
    stops: Listener = field(init=False)
    kept: dict[str, Any] = field(default_factory=dict)
    """What the services that bodies ask for share in this process; see ``economy``."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "stops", Listener(self.settings.redis_url or "", self.settings.namespace))

    @property
    def secrets(self) -> Secrets:
        return Secrets(self.settings, self.masker)


def open_services(
    settings: Settings,
    registry: Registry,
    name: str,
    shutdown: ShutdownSign,
    recycle: Callable[[str], None],
    masker: Masker,
) -> Services:
    """Connections of this process's own; never carried over a fork."""
    hot = WorkerHotState(settings.redis_url or "", settings.namespace)
    return Services(settings, registry, hot, ArtefactStore(settings.artefact_url), name, shutdown, recycle, masker)


def insist(action: Callable[[], None], what: str, for_s: float = float("inf")) -> None:
    """Do ``action``, again and again while Redis is away.

    Parameters
    ----------
    for_s
        Seconds after which its ``Unavailable`` is let through; by default never, for as long as this
        process lives: a result must not be lost because Redis restarts.
    """
    started = time.monotonic()
    wait_s = _FIRST_WAIT_S
    while True:
        try:
            action()
            return
        except Unavailable as error:
            if time.monotonic() - started > for_s:
                raise
            _LOG.warning("%s waits for Redis: %s", what, error)
        time.sleep(wait_s)
        wait_s = min(_LONGEST_WAIT_S, wait_s * 2)
