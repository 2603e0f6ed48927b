"""What the core asked to be looked up, until it was told: one question after the other, in order.

A question stays until its answer could be read, and goes with its run. Commits nothing; what an answer
leads to is handed to the leader.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Mapping

from engine.runtime.answers import Answers, unanswered
from engine.runtime.bugs import reason_of
from engine.runtime.learning import Learning
from engine.runtime.ports import RunRow
from engine.scheduling.events import Event, Request
from engine.scheduling.state import LiveRun


class Questions:
    """One shard's. ``answer`` may raise ``Unavailable``, and is to be called again then.

    Parameters
    ----------
    decide
        Has the core decide events, and takes in the verdict, which may bring more questions.
    """

    def __init__(
        self, answers: Answers, learning: Learning, runs: Mapping[str, LiveRun], rows: Mapping[str, RunRow],
        decide: Callable[[Iterable[Event]], None],
    ) -> None:  # fmt: skip
        self._answers, self._learning = answers, learning
        self._runs, self._rows, self._decide = runs, rows, decide
        self._asked: deque[Request] = deque()

    @property
    def waiting(self) -> bool:
        """Whether anything is left to be answered."""
        return bool(self._asked)

    def take_in(self, requests: Iterable[Request]) -> None:
        """The core asked these."""
        self._asked += requests

    def answer(self) -> None:
        """Answer what was asked, and what is asked because of it."""
        while self._asked:
            request = self._asked[0]
            run = self._runs.get(request.run_id)
            if run is not None and not run.state.final:
                try:
                    event = self._answers.answer(request, run, self._rows[request.run_id])
                except Exception as error:  # noqa: BLE001 - it ends what was asked about, and no other run
                    event = unanswered(request, reason_of(error, run.id, f"answering {type(request).__name__}"))
                self._learning.answered(event, run)
                self._decide([event])
            self._asked.popleft()
