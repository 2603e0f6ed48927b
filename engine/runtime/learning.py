"""What one shard's scheduler learns from its runs: taken in as it is decided, stored and told as time goes.

Learning never holds up a run: what cannot be read or stored is tried again later, and a crash loses
the last seconds of it. It is no part of a run's state, so losing or resetting it changes how runs are
scheduled and never what they give.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import structlog

from engine.errors import Unavailable
from engine.learning.knowledge import STEPS_MAX, Knowledge
from engine.learning.lessons import Lesson
from engine.learning.outline import outline
from engine.runtime.world import World
from engine.scheduling.events import ConditionKnown, Event, GuessKnown, PageKnown
from engine.scheduling.records import AttemptEnded, LogLines, Noted, Record, RunChanged, StepExpanded
from engine.scheduling.state import LiveRun
from engine.scheduling.wagers import guess_path
from engine.wire import Outcome

log = structlog.get_logger(__name__)

LOOK_S = 1.0
"""How soon a reset is noticed."""
STORE_S, STORE_AFTER_RUN_S = 2.0, 1.0
"""Seconds between two stores, and where a run ended since."""
TELL_S = 10.0
"""Seconds between two outlines for workers, and two looks for new ratings."""
_ROWS_AT_ONCE = 500

OUTCOME = "outcome"
"""Kind of the notes that say what checks found of a model's answer."""
_FAILED = (Outcome.FAILED, Outcome.TIMED_OUT)


@dataclass(slots=True)
class _Group:
    """Bodies of one step that ended in one turn, in the same way."""

    ends: int = 0
    seconds: list[float] = field(default_factory=list)


class Learning:
    """Learns on behalf of one shard. ``knowledge`` is what the core asks.

    Knows nothing before the first ``turn`` that could read what is stored.
    """

    def __init__(self, shard: int, epoch: int, world: World) -> None:
        self._shard, self._epoch, self._world = shard, epoch, world
        self.knowledge = Knowledge()
        self._generation: int | None = None
        self._look_at = self._store_at = self._tell_at = self._rated_at = float("-inf")
        self._stored_at = float("-inf")
        self._untold = False

    def take_in(self, records: Iterable[Record], runs: Mapping[str, LiveRun]) -> None:
        """Learn from what the core decided. Once a node, so nothing here but gathering."""
        groups: dict[tuple[str, int, bool], _Group] = {}
        leaders: dict[tuple[str, str], int] = {}
        for record in records:
            if isinstance(record, AttemptEnded):
                ok = record.outcome is Outcome.OK
                run = runs.get(record.run_id)
                if run is None or not (ok or record.outcome in _FAILED):
                    continue
                no = record.step_no
                if len(run.plan.steps) > STEPS_MAX:  # its steps are not told apart
                    no = leaders.setdefault((record.run_id, run.plan.steps[no].task), no)
                group = groups.get((record.run_id, no, ok))
                if group is None:
                    group = groups[record.run_id, no, ok] = _Group()
                group.ends += 1
                if record.begun_at is not None and record.ended_at is not None:
                    group.seconds.append(record.ended_at - record.begun_at + record.spared_s)
            elif isinstance(record, StepExpanded):
                run = runs.get(record.run_id)
                if run is not None and run.step(record.step_no).fanned:
                    path = run.step(record.step_no).path
                    self.knowledge.observe_items(run.plan.name, path, record.count, record.at)
            elif isinstance(record, RunChanged) and record.state.final:
                self._store_at = min(self._store_at, self._stored_at + STORE_AFTER_RUN_S)
        if groups:
            self._observe(groups, runs)

    def noted(self, lines: Iterable[LogLines | Noted]) -> None:
        """Learn from outcomes among what bodies left; one that cannot be read teaches nothing."""
        for line in lines:
            for kind, data in line.notes if isinstance(line, Noted) else ():
                if kind != OUTCOME:
                    continue
                try:
                    lesson = Lesson(data["model"], data["task"], str(data["text"]), bool(data["passed"]))
                    self.knowledge.observe_answer(lesson, str(data["class"]), self._world.clock.now())
                except (KeyError, TypeError) as error:
                    log.warning("learning.outcome", run=line.run_id, why=f"{type(error).__name__}: {error}")

    def answered(self, event: Event, run: LiveRun) -> None:
        """Learn from the value of a step's condition, or of a guess, if ``event`` tells one."""
        if isinstance(event, ConditionKnown) and event.error is None:
            held, refused = int(event.holds), int(not event.holds)
        elif isinstance(event, PageKnown) and event.error is None:
            refused = len(event.skipped)
            held = event.high - event.low - refused
        elif isinstance(event, GuessKnown):
            held, refused = int(event.right), int(not event.right)
        else:
            return
        path = run.step(event.step_no).path
        if isinstance(event, GuessKnown):
            path = guess_path(path)
        self.knowledge.observe_branch(run.plan.name, path, held, refused, self._world.clock.now())

    def turn(self) -> None:
        """Read, store and tell what is due. Raises ``Fenced``."""
        now = self._world.clock.monotonic()
        try:
            if now >= self._look_at:
                self._look_at = now + LOOK_S
                self._read()
            if now >= self._rated_at:
                self._rated_at = now + TELL_S
                self._untold |= self.knowledge.load_rated(self._world.journal.rated())
            if now >= self._store_at and self._generation is not None:
                self._store(now)
            if self._untold and now >= self._tell_at:
                self._tell_at = now + TELL_S
                self._world.hot.write_outline(self._shard, outline(self.knowledge))
                self._untold = False
        except Unavailable as error:
            log.info("learning.waits", shard=self._shard, why=str(error))

    def leave(self) -> None:
        """Store what is not stored yet: another may lead from now on. Raises ``Fenced`` or ``Unavailable``."""
        if self._generation is not None:
            self._store(self._world.clock.monotonic())

    def _observe(self, groups: Mapping[tuple[str, int, bool], _Group], runs: Mapping[str, LiveRun]) -> None:
        at = self._world.clock.now()
        for (run_id, step_no, ok), group in groups.items():
            plan = runs[run_id].plan
            step = plan.steps[step_no]
            kind = (plan.name, step.path, step.task) if len(plan.steps) <= STEPS_MAX else ("", "", step.task)
            self.knowledge.observe_bodies(*kind, group.seconds, at, ok=ok)
            self.knowledge.observe_ends(*kind, group.ends * ok, group.ends * (not ok), at)

    def _read(self) -> None:
        """Take in what is stored, at first and again after a reset, which what was in memory does not survive."""
        found = self._world.journal.learned(self._shard, self._generation)
        if found is None:
            return
        if self._generation is not None:
            log.info("learning.reset", shard=self._shard, generation=found.generation)
            self.knowledge.clear()
        self.knowledge.load(found.rows)
        self._generation = found.generation
        self._untold = True

    def _store(self, now: float) -> None:
        self._store_at = now + STORE_S
        rows, gone = self.knowledge.unstored(_ROWS_AT_ONCE)
        if not rows and not gone:
            return
        self._stored_at, self._untold = now, True
        assert self._generation is not None
        if self._world.journal.keep_learned(self._shard, self._epoch, self._generation, rows, gone):
            self.knowledge.stored(rows, gone)
        else:
            self._look_at = float("-inf")  # it was reset: read anew with the next turn
