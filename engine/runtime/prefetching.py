"""Sending what reads ahead, and telling bodies where to find what it brought.

Kept apart from what is in flight: a message that is lost here is not missed. It has a permit all the
same, under a field of its own, so that nothing reads for a run that is being stopped.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Protocol

import structlog

from engine.errors import Unavailable, UsageError
from engine.runtime.bugs import reason_of
from engine.runtime.ports import RunRow
from engine.runtime.world import World
from engine.scheduling.events import DropPrefetches, Event, PrefetchEnded, StartPrefetch
from engine.scheduling.records import RunState
from engine.scheduling.state import LiveRun
from engine.wire import Ahead, Delivery, Prefetch, prefetch_field

log = structlog.get_logger(__name__)


class Makes(Protocol):
    """Who makes the messages."""

    def ahead_of(self, run: LiveRun, row: RunRow, step_no: int, token: str, epoch: str, limits: Prefetch) -> Delivery:
        """The message that reads ahead for a step."""


class Prefetching:
    """The messages of one shard that read ahead. ``left_s`` says how long a body may wait for one, if at all."""

    def __init__(
        self,
        shard: int,
        leader: int,
        world: World,
        runs: Mapping[str, LiveRun],
        rows: Mapping[str, RunRow],
        left_s: Callable[[LiveRun, int, float], float | None],
    ) -> None:
        self._shard, self._leader, self._world = shard, leader, world
        self._runs, self._rows, self._left_s = runs, rows, left_s
        self._unsent: list[StartPrefetch] = []
        self._tokens: dict[tuple[str, int], str] = {}

    def carry_out(self, effect: StartPrefetch | DropPrefetches) -> None:
        """This was journaled; what is to be started goes out after what is certain to be wanted.

        Raises ``Unavailable``.
        """
        if isinstance(effect, StartPrefetch):
            self._unsent.append(effect)
        else:
            self._drop(effect.run_id, effect.steps)

    def send(self, makes: Makes, epoch: Callable[[], str]) -> None:
        """Send what waits. What cannot be sent now never is."""
        starts, self._unsent = self._unsent, []
        for each in starts:
            run = self._runs.get(each.run_id)
            if run is None or run.state is not RunState.RUNNING:
                continue  # its permits are going or gone: none may be written after them
            token, limits = self._world.new_token(), Prefetch(each.limit_bytes, each.fresh_s)
            try:
                delivery = makes.ahead_of(run, self._rows[run.id], each.step_no, token, epoch(), limits)
                permit = (run.id, prefetch_field(each.step_no), token)
                self._world.hot.write_permits(delivery.epoch, [permit], (self._shard, self._leader))
                self._tokens[run.id, each.step_no] = token
                self._world.publisher.publish([delivery])
            except (Unavailable, UsageError) as error:
                log.info("prefetch.not_sent", run=run.id, step=each.step_no, why=str(error))
            except Exception as error:  # noqa: BLE001 - its body reads for itself what was not read ahead
                reason_of(error, run.id, "what is read ahead was asked for")

    def ahead(self, run: LiveRun, step_no: int) -> Ahead | None:
        """Where the step's body finds what was read ahead for it; ``None`` if nothing was."""
        token = self._tokens.get((run.id, step_no))
        left_s = None if token is None else self._left_s(run, step_no, self._world.clock.now())
        return None if token is None or left_s is None else Ahead(token, left_s)

    def says(self, event: Event) -> bool:
        """Whether ``event`` may count, as far as reading ahead goes: of one that was sent from here."""
        if not isinstance(event, PrefetchEnded):
            return True
        return self._tokens.get((event.run_id, event.step_no)) == event.token

    def forget(self, run_id: str) -> None:
        """A run is over: nothing of it is to be left. Raises ``Unavailable``."""
        self._drop(run_id, [no for run, no in self._tokens if run == run_id])

    def _drop(self, run_id: str, steps: Iterable[int]) -> None:
        keys = [(run_id, no) for no in steps]
        self._unsent = [each for each in self._unsent if (each.run_id, each.step_no) not in keys]
        tokens = {key[1]: self._tokens[key] for key in keys if key in self._tokens}
        if tokens:
            self._world.hot.drop_prefetches(run_id, tokens)
        for key in keys:
            self._tokens.pop(key, None)
