"""Runs that stand for nodes: started by the shard's leader, which ends the node when they end.

A node of a step with ``child`` goes to no worker. Its attempt is journaled like any other; then its
run is stored, under an id that follows from the attempt, so that doing it again after a crash changes
nothing. What becomes of a run becomes of the runs below it. Decides nothing about runs itself: it
tells the core what happened.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from engine.dag.compiled import ChildKind, ChildRuns
from engine.errors import PlanError, TaskError, Unavailable, UsageError
from engine.runtime.bugs import reason_of
from engine.runtime.offspring import Birth, Offspring
from engine.runtime.ports import ChildEnd, ChildOf, NewChild, RunRow
from engine.runtime.world import World
from engine.scheduling.events import Cascaded, ChildEnded, Chunk, Event, NodeId, SeenRunning, StopAttempts, Verdict
from engine.scheduling.exhaustion import OVER_BUDGET
from engine.scheduling.records import RunChanged, RunState
from engine.scheduling.state import LiveRun
from engine.wire import ErrorInfo, NodeReport, Outcome

_START_AT_ONCE = 100
_AGAIN_S = 0.5


@dataclass(frozen=True, slots=True)
class _Cascade:
    """What happened to a run and is to happen to the runs below it."""

    run_id: str
    kind: str
    reason: str


class Children:
    """The runs of one shard that stand for nodes of others."""

    def __init__(
        self, shard: int, epoch: int, world: World, offspring: Offspring, runs: Mapping[str, LiveRun],
        rows: Mapping[str, RunRow],
    ) -> None:  # fmt: skip
        self._shard, self._epoch, self._world = shard, epoch, world
        self._offspring, self._runs, self._rows = offspring, runs, rows
        self._births: dict[tuple[str, NodeId], Birth] = {}
        self._below: dict[str, set[str]] = {}
        self._paused: set[str] = set()
        self._scores: dict[tuple[str, int, int, int], list[float]] = {}
        self._told: deque[_Cascade | ChildEnd | str] = deque()

    @property
    def waiting(self) -> bool:
        """Whether something is to be told to the core."""
        return bool(self._told)

    # --- what happens ---------------------------------------------------------------------------

    def dispatched(self, chunks: Iterable[Chunk]) -> list[Chunk]:
        """Keep those chunks whose nodes are runs, to start them after the commit; the others."""
        others: list[Chunk] = []
        for chunk in chunks:
            if self._runs[chunk[0].run_id].step(chunk[0].step_no).child is None:
                others.append(chunk)
                continue
            for each in chunk:
                self._births[each.run_id, (each.step_no, each.item)] = Birth(each.attempt)
        return others

    def taken_up(self, row: RunRow) -> None:
        """A run is in memory now: it may stand for a node, and runs may stand for nodes of it."""
        if row.parent is not None:
            self._below.setdefault(row.parent.run_id, set()).add(row.id)
        if row.state is RunState.PAUSED:
            self._paused.add(row.id)
        if row.parent is not None or self._runs[row.id].active:
            self._told.append(row.id)

    def take_in(self, verdict: Verdict) -> None:
        """Note what was decided of runs, and of attempts that runs may stand for."""
        for record in verdict.records:
            if isinstance(record, RunChanged):
                self._changed(record)
        for effect in verdict.effects:
            if isinstance(effect, StopAttempts):
                self._not_needed(effect.run_id, effect.nodes)

    def _changed(self, record: RunChanged) -> None:
        """A run is in another state: it matters to the run above it, or to those below."""
        row = self._rows.get(record.run_id)
        if row is None:
            return
        if record.state.final:
            if row.parent is not None:
                ended = replace(row, state=record.state, reason=record.reason, partial=record.partial)
                self._told.append(ChildEnd(ended, record.outputs))
        elif record.state is RunState.CANCELLING:
            self._told.append(_Cascade(row.id, "cancel", f"{row.id}, for which it ran, is stopped: {record.reason}"))
        elif record.state is RunState.PAUSED:
            self._paused.add(row.id)
            self._told.append(_Cascade(row.id, "pause", f"{row.id}, for which it runs, is paused"))
        elif row.id in self._paused:
            self._paused.discard(row.id)
            self._told.append(_Cascade(row.id, "resume", f"{row.id}, for which it runs, goes on"))

    def _not_needed(self, run_id: str, nodes: Iterable[NodeId]) -> None:
        """Attempts at nodes were ended: so are the runs that stand for them."""
        ended = frozenset(nodes)
        for child in self._below.get(run_id, ()):
            parent = self._rows[child].parent if child in self._rows else None
            if parent is not None and (parent.step_no, parent.item) in ended:
                self._told.append(child)

    def forget(self, run_id: str) -> None:
        """A run is over, and that is committed."""
        self._below.pop(run_id, None)
        self._paused.discard(run_id)
        row = self._rows.get(run_id)
        if row is not None and row.parent is not None:
            self._below.get(row.parent.run_id, set()).discard(run_id)
        for key in [key for key in self._births if key[0] == run_id]:
            del self._births[key]
        for scored in [scored for scored in self._scores if scored[0] == run_id]:
            del self._scores[scored]

    def take(self) -> list[Event]:
        """The next events for the core. May raise ``Unavailable``: then they come with the next call."""
        first = self._told[0]
        if isinstance(first, _Cascade):
            below = sorted(self._below.get(first.run_id, ()))
            events: list[Event] = [Cascaded(child, first.kind, first.reason) for child in below]
        elif isinstance(first, ChildEnd):
            events = self._ended(first)
        else:
            events = self._checked(first)
        self._told.popleft()
        return events

    # --- starting -------------------------------------------------------------------------------

    def start(self) -> tuple[list[RunRow], list[Event]]:
        """Store the runs that are due; their rows, and the ends of nodes whose runs can never be made.

        Called when all that was decided is committed. May raise ``Unavailable``.
        """
        made: list[NewChild] = []
        events: list[Event] = []
        keys: list[tuple[str, NodeId]] = []
        now = self._world.clock.monotonic()
        for key, birth in list(self._births.items()):
            if len(made) >= _START_AT_ONCE:
                break
            run_id, (no, item) = key
            run = self._runs.get(run_id)
            active = run.active.get((no, item)) if run is not None else None
            if run is None or active is None or active.attempt != birth.attempt or run.state is RunState.CANCELLING:
                del self._births[key]
            elif self._goes_on(run_id) and birth.not_before <= now:
                try:
                    made.append(self._offspring.child(run, self._rows[run_id], no, item, birth))
                    keys.append(key)
                except Unavailable:
                    birth.not_before = now + _AGAIN_S
                except (UsageError, TaskError, PlanError) as error:
                    del self._births[key]
                    events.append(_failed(ChildOf(run_id, no, item, birth.attempt), str(error), retryable=False))
                except Exception as error:  # noqa: BLE001 - nothing is stored of it: it ends that node, and no other
                    why = reason_of(error, run_id, f"a run for {run.step(no).path} was made")
                    del self._births[key]
                    events.append(_failed(ChildOf(run_id, no, item, birth.attempt), why, retryable=False))
        if made:
            self._world.journal.start_children(self._shard, self._epoch, made)
        for key in keys:
            del self._births[key]
        return [child.row for child in made if child.row.id not in self._runs], events

    def _goes_on(self, run_id: str) -> bool:
        run = self._runs.get(run_id)
        return run is not None and run.state is not RunState.PAUSED

    # --- stopping -------------------------------------------------------------------------------

    def living(self, run: LiveRun) -> Sequence[RunRow]:
        """The runs below ``run`` that have not ended, in memory or not. May raise ``Unavailable``."""
        if all(step.child is None for step in run.plan.steps):
            return ()
        return self._world.journal.living_children(run.id)

    def strays(self, run: LiveRun) -> bool:
        """Whether a run below still lives though its node's attempt is over. May raise ``Unavailable``."""
        for row in self.living(run):
            if row.parent is not None:
                active = run.active.get((row.parent.step_no, row.parent.item))
                if active is None or active.attempt != row.parent.attempt:
                    return True
        return False

    def stopping(self, run: LiveRun, below: Sequence[RunRow]) -> tuple[frozenset[NodeId] | None, list[Event]]:
        """The nodes whose runs still live; ``None`` while one has permits. With events that stop the rest."""
        living: set[NodeId] = set()
        events: list[Event] = []
        gone = True
        for row in below:
            child = self._runs.get(row.id)
            if child is None or child.state.final or row.parent is None:
                continue
            if child.state is not RunState.CANCELLING:
                events.append(Cascaded(child.id, "cancel", f"{run.id}, for which it ran, is stopped: {run.reason}"))
            gone = gone and child.permits_gone
            living.add((row.parent.step_no, row.parent.item))
        return (frozenset(living) if gone else None), events

    # --- what follows ---------------------------------------------------------------------------

    def _checked(self, run_id: str) -> list[Event]:
        """What is to be said of a run that was taken up."""
        run, row = self._runs.get(run_id), self._rows.get(run_id)
        if run is None or row is None or run.state.final:
            return []
        self._find_children(run)
        return [] if row.parent is None else self._beside_parent(row.parent, row)

    def _beside_parent(self, parent: ChildOf, row: RunRow) -> list[Event]:
        above = self._runs.get(parent.run_id)
        active = above.active.get((parent.step_no, parent.item)) if above is not None else None
        if above is None or active is None or active.attempt != parent.attempt or above.state is RunState.CANCELLING:
            return [Cascaded(row.id, "cancel", f"{parent.run_id}, for which it ran, is stopped or over")]
        began: Event = SeenRunning(above.id, parent.step_no, parent.item, parent.attempt, row.created_at)
        if above.state is RunState.PAUSED:
            return [began, Cascaded(row.id, "pause", f"{above.id}, for which it runs, is paused")]
        return [began]

    def _find_children(self, run: LiveRun) -> None:
        """A restored run's nodes that are runs: start those that are missing, and end those that have ended."""
        steps: dict[int, list[int]] = {}
        for no, item in run.active:
            if run.step(no).child is not None:
                steps.setdefault(no, []).append(item)
        latest: dict[NodeId, ChildEnd] = {}
        for no, items in steps.items():
            for child in self._world.journal.children(run.id, no, items):
                parent = child.row.parent
                if parent is not None and parent.attempt == run.active[no, parent.item].attempt:
                    latest[no, parent.item] = child
        for no, items in steps.items():
            for item in items:
                found = latest.get((no, item))
                if found is None:
                    self._births.setdefault((run.id, (no, item)), Birth(run.active[no, item].attempt))
                elif found.row.state.final:
                    self._told.append(found)

    def _ended(self, end: ChildEnd) -> list[Event]:
        parent = end.row.parent
        assert parent is not None
        run, node = self._runs.get(parent.run_id), (parent.step_no, parent.item)
        active = run.active.get(node) if run is not None else None
        if run is None or active is None or active.attempt != parent.attempt:
            return []
        child = run.step(parent.step_no).child
        assert child is not None
        if run.state is RunState.CANCELLING:
            report = NodeReport(
                parent.item, parent.attempt, Outcome.CANCELLED, error=ErrorInfo("Cancelled", run.reason)
            )
            return [ChildEnded(run.id, parent.step_no, report)]
        if end.row.state is not RunState.SUCCEEDED:
            short = end.row.reason.startswith(OVER_BUDGET)
            what = f"run {end.row.id} {end.row.state}: {end.row.reason}"
            if short and run.budget.stopped:
                what = f"{end.row.reason} (run {end.row.id})"  # this run's money was short: not tried in vain
            return [_failed(parent, what, retryable=False if short or end.row.state is RunState.CANCELLED else None)]
        if child.kind is ChildKind.LOOP:
            begun_at = active.begun_at if active.begun_at is not None else end.row.created_at
            try:
                scores = self._scored(child, end, parent) if child.enough is not None else ()
                told = self._offspring.after_round(child, end, self._world.clock.now() - begun_at, scores)
            except (UsageError, TaskError) as error:
                return [_failed(parent, f"the end of round {parent.round}: {error}", retryable=False)]
            except Exception as error:  # noqa: BLE001 - nothing is decided of it: it ends that loop, and no other run
                why = reason_of(error, run.id, f"round {parent.round} was judged")
                return [_failed(parent, why, retryable=False)]
            if isinstance(told, Birth):
                self._births[run.id, node] = told
                return [Cascaded(run.id, "partial", "")] if end.row.partial else []
            return [self._succeeded(end, parent, *told)]
        return [self._succeeded(end, parent, end.outputs or '{"v":null}', end.row.partial)]

    def _scored(self, child: ChildRuns, end: ChildEnd, parent: ChildOf) -> Sequence[float]:
        """The scores of an attempt's rounds up to the one that ended; those of earlier ones are remembered."""
        key = (parent.run_id, parent.step_no, parent.item, parent.attempt)
        known = self._scores.get(key, [])
        if len(known) != parent.round - 1:  # another scheduler saw them end
            rounds = self._world.journal.children(parent.run_id, parent.step_no, (parent.item,))
            earlier = [
                each for each in rounds if each.row.parent is not None and each.row.parent.attempt == parent.attempt
            ]
            known = [
                self._offspring.score(child, each)
                for each in earlier
                if each.row.parent is not None and each.row.parent.round < parent.round
            ]
        self._scores[key] = scores = [*known, self._offspring.score(child, end)]
        return scores

    def _succeeded(self, end: ChildEnd, parent: ChildOf, result: str, partial: bool) -> ChildEnded:
        report = NodeReport(
            parent.item, parent.attempt, Outcome.OK, result, begun_at=end.row.created_at,
            ended_at=self._world.clock.now(),
        )  # fmt: skip
        return ChildEnded(parent.run_id, parent.step_no, report, partial)


def _failed(parent: ChildOf, why: str, *, retryable: bool | None) -> ChildEnded:
    error = ErrorInfo("ChildRunFailed", why, retryable=retryable)
    report = NodeReport(parent.item, parent.attempt, Outcome.FAILED, error=error)
    return ChildEnded(parent.run_id, parent.step_no, report)
