"""The scheduler's core: events in, records, requests and effects out.

Deterministic: the same events at the same times give the same verdicts. It reads no clock, no
store and no random source, so a whole world of lost messages and crashes can be simulated around
it (``tests/simulation``).
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable

from engine.dag.compiled import CompiledPlan
from engine.errors import Conflict
from engine.scheduling import attempts, commands, decisions, endings, races, restoring, steps
from engine.scheduling.bets import Bets
from engine.scheduling.dispatch import Parked, dispatch
from engine.scheduling.events import (
    AttemptLost,
    AttemptsStopped,
    BeginAsked,
    Cascaded,
    ChildEnded,
    Chunk,
    Commanded,
    ConditionKnown,
    Event,
    Grant,
    GuessKnown,
    ItemsKnown,
    OutputsKnown,
    PageKnown,
    PermitsRevoked,
    PrefetchEnded,
    Reported,
    SeenRunning,
    TimePassed,
    Unpackable,
    Verdict,
    VerdictKnown,
)
from engine.scheduling.hedges import Hedges, usual
from engine.scheduling.odds import NoOdds, Odds
from engine.scheduling.outstanding import Outstanding, Room
from engine.scheduling.prefetches import Prefetches
from engine.scheduling.ready import NEXT_TO_NOTHING, Ready
from engine.scheduling.records import Begun, CommandHandled, RunState, StepState
from engine.scheduling.snapshot import RunSnapshot
from engine.scheduling.state import LiveRun, Policy
from engine.scheduling.turn import BUDGET_ANSWER, RUN_DEADLINE, Timers, Turn
from engine.scheduling.urgency import Urgency
from engine.wire import ErrorInfo, NodeReport, Outcome, real_item


class Core:
    """Every live run of one shard. ``plan_pools`` are the limits of pools that their plans declare.

    Where versions of a plan declare one pool with different sizes, the smallest of those with live runs holds.
    """

    def __init__(self, policy: Policy | None = None, odds: Odds | None = None) -> None:
        self.runs: dict[str, LiveRun] = {}
        self._policy = policy or Policy()
        self._ready = Ready()
        self._outstanding = Outstanding()
        self._odds = NoOdds() if odds is None else odds
        self._timers = Timers()
        self._urgency = Urgency()
        self._parked = Parked()
        self._hedges = Hedges()
        self._bets = Bets()
        self._prefetches = Prefetches()
        self.plan_pools: dict[str, int] = {}
        self._pool_sizes: defaultdict[str, Counter[int]] = defaultdict(Counter)

    def take(self, snapshot: RunSnapshot, plan: CompiledPlan, now: float) -> Verdict:
        """Take up a run, new or half done, from what the journal knows of it."""
        turn = self._turn(now)
        run = restoring.restore(turn, snapshot, plan)
        self.runs[run.id] = run
        for pool, size in plan.pools.items():
            self._pool_sizes[pool][size] += 1
            self.plan_pools[pool] = min(self._pool_sizes[pool])
        restoring.set_going(turn, run)
        self._bets.taken(turn, run)
        self._prefetches.taken(turn, run)
        self._bets.follow(turn, self.runs)
        self._prefetches.follow(turn, self.runs)
        for (no, item), active in run.active.items():
            if active.begun_at is not None:
                self._hedges.seen_running(turn, run, no, item, active.begun_at)
        endings.look(turn, run)
        return turn.verdict

    def decide(self, events: Iterable[Event], now: float) -> Verdict:
        """Apply ``events`` in order, then whatever time alone has brought about."""
        turn = self._turn(now)
        for event in events:
            self._apply(turn, event)
        self._fire_timers(turn)
        self._bets.follow(turn, self.runs)
        for run in turn.moved.values():
            endings.look(turn, run)
        self._prefetches.follow(turn, self.runs)
        return turn.verdict

    def dispatch(
        self, room: Room, now: float, most: int, *, newcomers_only: bool = False
    ) -> tuple[list[Chunk], Verdict]:
        """Choose up to ``most`` attempts to send, a chunk a message; the verdict holds their records."""
        turn = self._turn(now)
        chunks = dispatch(turn, room, self._parked, most, newcomers_only=newcomers_only)
        decisions.travel_together(turn, self.runs, chunks)
        sent = sum(map(len, chunks))
        self._hedges.sent(turn.policy, sent)
        if newcomers_only:
            return chunks, turn.verdict
        chunks += self._hedges.launch(turn, self.runs, room, most - sent)
        chunks += self._bets.place(turn, room, most - sum(map(len, chunks)))
        self._prefetches.place(turn, room, most - sum(map(len, chunks)))
        return chunks, turn.verdict

    def forget(self, run_id: str) -> None:
        """Drop a run that ended and whose end is committed."""
        run = self.runs.pop(run_id, None)
        for pool, size in run.plan.pools.items() if run is not None else ():
            sizes = self._pool_sizes[pool]
            sizes[size] -= 1
            if not sizes[size]:
                del sizes[size]
            # Of a pool without runs the last size is kept: that nothing of it is used is told with it.
            self.plan_pools[pool] = min(sizes, default=self.plan_pools[pool])
        self._bets.forget(run_id)
        self._prefetches.forget(run_id)

    def clock_jumped(self, seconds: float) -> None:
        """The wall clock was set ``seconds`` ahead (negative: back); no wait gets longer or shorter."""
        self._timers.shift(seconds)
        for run in self.runs.values():
            for trouble in run.trouble.values():
                if trouble.retry_at is not None:
                    trouble.retry_at += seconds
                if trouble.first_begun_at is not None:
                    trouble.first_begun_at += seconds

    def next_due(self) -> float | None:
        """Epoch seconds at which time alone will bring something about; ``None`` if never."""
        return self._timers.next_at()

    def demand(self, rated: Collection[str]) -> tuple[Counter[str], Counter[str]]:
        """Ready nodes that want a slot of each pool, and a token of each of the ``rated`` task types."""
        pools: Counter[str] = Counter()
        tokens: Counter[str] = Counter()
        for run, no in [*self._ready, *self._parked.sources]:
            step, wanted = run.step(no), run.steps[no].dispatchable
            if run.state is not RunState.RUNNING:
                continue
            for pool in step.pools:
                pools[pool] += wanted
            if step.task in rated:
                tokens[step.task] += wanted
        return pools, tokens

    def mark_after_s(self, run: LiveRun, no: int) -> float | None:
        """Seconds after which a body of step ``no`` is a straggler; ``None`` if none ever is, or it is unknown."""
        known = usual(self._odds, self._policy, run.plan.name, run.step(no))
        return None if known is None else known.threshold_s

    def prefetch_left_s(self, run: LiveRun, no: int, now: float) -> float | None:
        """Seconds that the step's body may wait for what is being read ahead; ``None`` if nothing is."""
        return self._prefetches.left_s(run, no, now)

    def is_light(self, run_id: str) -> bool:
        """Whether a live run has next to nothing out, so that what is said of it is soon taken in."""
        run = self.runs.get(run_id)
        return run is not None and len(run.active) <= NEXT_TO_NOTHING

    def light_work_s(self, chunks: Iterable[Chunk]) -> float:
        """Seconds of work that the longest message of a light run holds; 0 if none of these is of one."""
        light = (chunk for chunk in chunks if self.is_light(chunk[0].run_id))
        return max((self._work_s(chunk) for chunk in light), default=0.0)

    def _work_s(self, chunk: Chunk) -> float:
        active = self.runs[chunk[0].run_id].active
        return sum(active[it.step_no, it.item].estimate_s for it in chunk if (it.step_no, it.item) in active)

    def attempts_out(self) -> int:
        """Active attempts of every queue."""
        return self._outstanding.total()

    def pool_use(self) -> Counter[str]:
        """Slots of each pool that active attempts hold."""
        return self._outstanding.pools

    def _turn(self, now: float) -> Turn:
        shared = (self._policy, self._ready, self._outstanding, self._odds, self._timers, self._urgency)
        return Turn(now, *shared, runs=self.runs)

    def _apply(self, turn: Turn, event: Event) -> None:
        if isinstance(event, TimePassed):
            return
        run = self.runs.get(event.run_id)
        if isinstance(event, Commanded):
            self._command(turn, run, event)
        elif run is None or run.state.final:
            self._too_late(turn, event)
        else:
            self._apply_to_run(turn, run, event)

    def _apply_to_run(self, turn: Turn, run: LiveRun, event: Event) -> None:
        match event:
            case Reported():
                self._reported(turn, run, event.step_no, event.node, event.worker)
            case AttemptLost():
                if (report := attempts.lost(run, event, turn.now)) is not None:
                    self._reported(turn, run, event.step_no, report, event.worker)
            case BeginAsked():
                _begin_asked(turn, run, event)
            case SeenRunning():
                if _seen_running(turn, run, event):
                    self._hedges.seen_running(turn, run, event.step_no, event.item, event.begun_at)
            case Unpackable():
                error = ErrorInfo("Unpackable", event.why, retryable=False)
                report = NodeReport(event.item, event.attempt, Outcome.FAILED, error=error)
                self._reported(turn, run, event.step_no, report, "")
            case ChildEnded():
                attempts.child_ended(turn, run, event.step_no, event.node, partial=event.partial)
            case Cascaded():
                commands.cascade(turn, run, event)
            case ConditionKnown():
                commands.condition_known(turn, run, event)
            case GuessKnown():
                self._bets.guess_known(turn, run, event)
            case PrefetchEnded():
                self._prefetches.ended(turn, run, event)
            case ItemsKnown():
                commands.items_known(turn, run, event)
            case PageKnown():
                commands.page_known(turn, run, event)
            case OutputsKnown():
                if run.steps_left == 0 and (run.state is not RunState.CANCELLING or run.ending is RunState.SUCCEEDED):
                    steps.finish(turn, run, event.text, event.missing, event.produced)
            case PermitsRevoked():
                commands.permits_revoked(turn, run, event)
            case VerdictKnown():
                endings.verdict_known(turn, run, event)
            case AttemptsStopped():
                steps.attempts_stopped(turn, run)
        if run.news is not None:
            turn.moved[run.id] = run
        if run.state is RunState.CANCELLING and run.permits_gone and not run.active:
            commands.end_cancelled(turn, run)

    def _reported(self, turn: Turn, run: LiveRun, no: int, report: NodeReport, worker: str) -> None:
        if report.item >= 0:
            self._prefetches.reported(turn, run, no, report)
            attempts.reported(turn, run, no, report, worker)
        elif not self._bets.reported(turn, run, no, report, worker):
            races.reported(turn, run, no, report, worker)

    def _command(self, turn: Turn, run: LiveRun | None, event: Commanded) -> None:
        error = None
        try:
            if run is None or run.state.final:
                raise Conflict(f"run {event.run_id} has ended")
            commands.carry_out(turn, run, event)
        except Conflict as conflict:
            error = str(conflict)
        turn.record(CommandHandled(event.command_id, turn.now, error))

    def _too_late(self, turn: Turn, event: Event) -> None:
        if isinstance(event, Reported):
            turn.record(attempts.duplicate(event.run_id, event.step_no, event.node, event.worker, turn.now))
        elif isinstance(event, BeginAsked):
            turn.effect(Grant(event.token, allowed=False))

    def _fire_timers(self, turn: Turn) -> None:
        for run_id, step_no, item in self._timers.due(turn.now):
            run = self.runs.get(run_id)
            if run is None or run.state.final:
                continue
            if (step_no, item) == RUN_DEADLINE:
                commands.deadline_passed(turn, run)
            elif (step_no, item) == BUDGET_ANSWER:
                commands.unanswered(turn, run)
            elif item < 0:
                self._hedges.due(turn, run, step_no, real_item(item))
            elif run.steps[step_no].state is StepState.RUNNING:
                attempts.ready_again(turn, run, step_no, item)


def _begin_asked(turn: Turn, run: LiveRun, event: BeginAsked) -> None:
    active = run.active.get((event.step_no, event.item))
    allowed = active is not None and active.attempt == event.attempt and run.state is not RunState.CANCELLING
    if allowed and active is not None and active.begun_at is None:
        active.begun_at = turn.now
        turn.record(Begun(run.id, event.step_no, real_item(event.item), event.attempt, event.worker, turn.now))
    turn.effect(Grant(event.token, allowed))


def _seen_running(turn: Turn, run: LiveRun, event: SeenRunning) -> bool:
    active = run.active.get((event.step_no, event.item))
    current = active is not None and active.attempt == event.attempt
    if active is not None and current and active.begun_at is None:
        active.begun_at = event.begun_at
        turn.record(Begun(run.id, event.step_no, real_item(event.item), event.attempt, event.worker, event.begun_at))
    return current
