"""The engine's services that a body may ask for, made when it does: most bodies ask for none.

Each is named with the function that makes it for an attempt, and neither is imported before: a worker
that calls no models loads nothing of them.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any, TypeVar

from engine.errors import Permanent
from engine.runtime.worker.loglines import LogLines
from engine.runtime.worker.notes import Notes
from engine.runtime.worker.services import Services
from engine.wire import Delivery, NodeCall

S = TypeVar("S")

_HERE = "engine.runtime.worker.economy"
MAKERS: dict[str, str] = {
    "engine.models.service.Models": f"{_HERE}:models",
    "engine.models.batches.Batches": f"{_HERE}:batches",
    "engine.context.assembly.Assembler": f"{_HERE}:assembler",
    "engine.cache.cache.Cache": "engine.runtime.worker.caching:cache",
    "engine.models.caching.ModelCache": "engine.runtime.worker.caching:model_cache",
    "engine.budgets.budget.Budget": f"{_HERE}:budget",
}
"""A class's full name, and module and name of the function that makes one of an ``Offered``."""


@dataclass(slots=True)
class Offered:
    """What one attempt is offered, and what the makers of it work with."""

    services: Services
    delivery: Delivery
    call: NodeCall
    stop: Callable[[], bool]
    notes: Notes
    log: LogLines
    _made: dict[type[Any], Any] = field(default_factory=dict)
    _lock: threading.RLock = field(default_factory=threading.RLock)

    def get(self, kind: type[S], /) -> S:
        """The attempt's own ``kind``; the same one each time. Raises ``Permanent`` if there is none of that class."""
        with self._lock:
            if kind not in self._made:
                maker = MAKERS.get(f"{kind.__module__}.{kind.__qualname__}")
                if maker is None:
                    raise Permanent(f"no worker offers a {kind.__name__}")
                module, _, name = maker.partition(":")
                self._made[kind] = getattr(import_module(module), name)(self)
            made: S = self._made[kind]
            return made
