"""What one attempt knows of routing: its task type, the installation's classes, what is left, and who is warm.

Data and small functions. Choosing is ``routing``'s, what to do with a class is the asking task's.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field

from settings.economy.routing import ClassesSection, ClassSection, RoutingSection

_RUNS_MAX = 1000


class Warm:
    """Which model read a run's shared prefix last in this process. Bounded; safe for threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._runs: OrderedDict[str, str] = OrderedDict()

    def of(self, run_id: str) -> str | None:
        """The model; ``None`` if none is known."""
        with self._lock:
            return self._runs.get(run_id)

    def asked(self, run_id: str, model: str) -> None:
        """``model`` read it now."""
        with self._lock:
            self._runs[run_id] = model
            self._runs.move_to_end(run_id)
            while len(self._runs) > _RUNS_MAX:
                self._runs.popitem(last=False)


def _unlimited() -> int | None:
    return None


@dataclass(frozen=True, slots=True)
class Policy:
    """How an attempt's calls are routed.

    Parameters
    ----------
    task
        The task type, as calibration knows it.
    classes, routing
        The installation's sections.
    left_nusd
        Nano-dollars that may still be reserved; ``None`` without a limit.
    warm, classed
        What the process keeps: warm prefixes by run, and classes that a model was asked for by their instructions.
    """

    task: str = ""
    classes: ClassesSection = field(default_factory=ClassesSection)
    routing: RoutingSection = field(default_factory=RoutingSection)
    left_nusd: Callable[[], int | None] = _unlimited
    warm: Warm = field(default_factory=Warm)
    classed: Warm = field(default_factory=Warm)

    def of(self, step_class: str) -> ClassSection:
        """How steps of that class are cared for."""
        return self.classes.of(step_class)
