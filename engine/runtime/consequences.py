"""What a decision has asked for beside messages, carried out once it is stored: grants, stops, revocations, ends.

In order, and each once: one that Redis did not take stays first in line. Commits nothing; what comes of it
is handed to the leader.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable

from engine.runtime.children import Children
from engine.runtime.inflight import Inflight
from engine.runtime.newcomers import Newcomers
from engine.runtime.prefetching import Prefetching
from engine.runtime.world import World
from engine.scheduling.core import Core
from engine.scheduling.events import (
    AttemptsStopped,
    DropPrefetches,
    Effect,
    Event,
    Grant,
    PermitsRevoked,
    RevokeRun,
    RunOver,
    StartPrefetch,
    StopAttempts,
)
from engine.scheduling.state import LiveRun


class Consequences:
    """One shard's. ``carry_out`` may raise ``Unavailable``, and is to be called again then.

    Parameters
    ----------
    decide
        Has the core decide events, and takes in the verdict.
    forget
        Forgets a run that is over.
    """

    def __init__(
        self, world: World, core: Core, inflight: Inflight, children: Children, newcomers: Newcomers,
        prefetching: Prefetching, decide: Callable[[Iterable[Event]], None], forget: Callable[[str], None],
    ) -> None:  # fmt: skip
        self._world, self._core, self._inflight, self._children = world, core, inflight, children
        self._newcomers, self._prefetching = newcomers, prefetching
        self._decide, self._forget = decide, forget
        self._effects: deque[Effect] = deque()

    @property
    def waiting(self) -> bool:
        """Whether anything is left to be carried out."""
        return bool(self._effects)

    def take_in(self, effects: Iterable[Effect]) -> None:
        """These were decided: carry them out once that is stored."""
        self._effects += effects

    def carry_out(self) -> None:
        """Carry out what was taken in until now."""
        for _ in range(len(self._effects)):
            self._carry_out(self._effects[0])
            self._effects.popleft()

    def _carry_out(self, effect: Effect) -> None:
        match effect:
            case Grant():
                self._world.hot.grant(effect.token, effect.allowed)
            case RevokeRun():
                run = self._core.runs.get(effect.run_id)
                revoked = self._revoke(run) if run is not None else None
                if revoked is not None:
                    self._decide([revoked])
                elif run is not None:
                    self._effects.append(effect)  # asked again with the next step
            case StopAttempts():
                self._stop(effect)
            case StartPrefetch() | DropPrefetches():
                self._prefetching.carry_out(effect)
            case RunOver():
                self._world.hot.tell_end(effect.run_id)
                self._forget(effect.run_id)

    def _stop(self, effect: StopAttempts) -> None:
        self._inflight.stop(effect.run_id, effect.nodes)
        run = self._core.runs.get(effect.run_id)
        if effect.awaited and run is not None and self._children.strays(run):
            self._effects.append(StopAttempts(effect.run_id, (), awaited=True))
        elif effect.awaited:
            self._decide([AttemptsStopped(effect.run_id)])

    def _revoke(self, run: LiveRun) -> PermitsRevoked | None:
        """Delete a run's permits, once those of all runs below it are gone."""
        below = self._children.living(run)
        for row in below:
            if row.id not in self._core.runs:
                self._newcomers.take(row)
        living, events = self._children.stopping(run, below)
        self._decide(events)
        return None if living is None else self._inflight.revoke(run, living)
