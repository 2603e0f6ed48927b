"""What checked answers have taught, as a worker's process knows it: read from its scheduler's outline now and then.

Learning from texts takes seconds of one core, so a thread of its own does it, seldom, while calls go on with what is
known. Nothing here is a run's state: without it the catalogue's priors decide.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from engine.errors import Unavailable
from engine.learning.lessons import Lesson
from engine.learning.outline import Outline
from engine.models.calibration import Calibration

if TYPE_CHECKING:
    from engine.models.texts import TextRouter

_LOG = logging.getLogger(__name__)

LOOK_S = 10.0
"""Seconds for which an outline is believed."""
LEARN_S = 300.0
"""Seconds between two routers at least."""
LIFT_MAX = 0.3
"""A text moves odds by no more: whoever writes it must not decide alone."""


class FromOutlines:
    """``engine.models.routing.Taught`` out of outlines. Safe for threads.

    Parameters
    ----------
    read
        Gives the outline's text; ``None`` if there is none.
    texts
        Whether texts are learned from at all.
    """

    def __init__(self, read: Callable[[], str | None], texts: bool = True) -> None:
        self._read, self._texts = read, texts
        self._lock = threading.Lock()
        self._look_at = self._learn_at = float("-inf")
        self._calibration = Calibration()
        self._routers: dict[str, TextRouter] = {}
        self._thread: threading.Thread | None = None

    @property
    def calibration(self) -> Calibration:
        """See ``Taught``; as of at most ``LOOK_S`` ago."""
        self._look()
        return self._calibration

    def lift(self, model: str, task: str, text: str) -> float:
        """See ``Taught``; at most ``LIFT_MAX`` to either side."""
        router = self._routers.get(task)
        if router is None or not text:
            return 0.0
        from engine.models.texts import seen  # lazy: the extra `router`

        return max(-LIFT_MAX, min(LIFT_MAX, float(router.lift(model, seen([text]))[0])))

    def learned(self, timeout_s: float) -> None:
        """Wait for a router that is being learned."""
        thread = self._thread
        if thread is not None:
            thread.join(timeout_s)

    def _look(self) -> None:
        now = time.monotonic()
        with self._lock:
            if now < self._look_at:
                return
            self._look_at = now + LOOK_S
            try:
                text = self._read()
                outline = None if text is None else Outline(text)
            except (Unavailable, KeyError, ValueError, TypeError) as error:
                _LOG.info("what was learned cannot be read, so what is known stays: %s", error)
                return
            if outline is None:
                return
            self._calibration = Calibration(outline.odds)
            if not outline.lessons:
                self._routers = {}  # it was reset
            elif self._texts and now >= self._learn_at:
                self._learn_at = now + LEARN_S
                self._thread = threading.Thread(target=self._learn, args=(outline.lessons,), daemon=True, name="router")
                self._thread.start()

    def _learn(self, lessons: Sequence[Lesson]) -> None:
        by_task: dict[str, list[Lesson]] = defaultdict(list)
        for lesson in lessons:
            by_task[lesson.task].append(lesson)
        try:
            found = {task: router for task, some in by_task.items() if (router := router_of(some)) is not None}
        except ImportError:
            return  # without the extra `router` the calibration decides alone
        self._routers = found


def router_of(lessons: Sequence[Lesson]) -> TextRouter | None:
    """What the texts of one task type teach; ``None`` where no model has enough of them."""
    from engine.models.texts import LABELS_MIN, TextRouter, seen  # lazy: the extra `router`

    counts = Counter(lesson.model for lesson in lessons)
    models = {model for model, count in counts.items() if count >= LABELS_MIN}
    if not models:
        return None
    rows = {text: row for row, text in enumerate(dict.fromkeys(each.text for each in lessons if each.model in models))}
    scores: dict[str, list[float | None]] = {model: [None] * len(rows) for model in sorted(models)}
    for lesson in lessons:
        if lesson.model in models:
            scores[lesson.model][rows[lesson.text]] = float(lesson.passed)
    return TextRouter.learned(seen(list(rows)), scores)
