"""Bets: idle slots start what will probably follow, before it is known that it does.

A bet is a speculative attempt at the one node of a step that still waits. It rests on one of two
things: that the step's condition will prove true, while steps that only the condition asks about are
running; or that a guesser's output will prove equal to that of the step it guesses, while that one
is running. Its result is held here, not journaled, until what it rests on is known. Then the bet is
*adopted* (its result is the node's, or its body goes on as the node's own) or *dropped*. One that
failed is dropped as well, and one whose slot is wanted gives way: the node then runs as ever.

When a bet is worth it, and where, is said in ``wagers``. Bets live in memory only: a scheduler that
takes a run over ends those of the one before.

References
----------
Ye and others: Speculative Actions: A Lossless Framework for Faster Agentic Systems. arXiv 2510.04371,
2025.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import islice

from engine.scheduling import attempts, extras
from engine.scheduling.events import Chunk, GuessKnown, NeedMatch
from engine.scheduling.outstanding import Room
from engine.scheduling.records import (
    AttemptEnded,
    AttemptKind,
    Decision,
    RunChanged,
    RunState,
    StepExpanded,
    StepFinished,
    StepState,
)
from engine.scheduling.state import LiveRun
from engine.scheduling.turn import Turn
from engine.scheduling.wagers import Wager, may_bet, own_output, spare_slots, wager
from engine.wire import ErrorInfo, NodeReport, Outcome

QUEUE = "speculative"
"""The queue of the broker that bets wait in."""
OPEN_MOST = 1000
"""Bets whose outcome is not known, at once: each may hold a result in memory."""
_LOOKED_AT = 64

StepKey = tuple[str, int]
"""A step: (run id, step_no)."""


@dataclass(slots=True)
class Bet:
    """A bet whose outcome is not known. ``held`` is the report of a body that is done, from ``worker``.

    ``kept_back`` says that the node is ready, and waits for the word on the guess.
    """

    run: LiveRun
    no: int
    wager: Wager
    made_at: float
    held: NodeReport | None = None
    worker: str = ""
    kept_back: bool = False

    def ran_s(self, now: float) -> float:
        """Seconds that its body has had, the time in the queue included where its begin is not known."""
        if self.held is not None and self.held.begun_at is not None and self.held.ended_at is not None:
            return max(0.0, self.held.ended_at - self.held.begun_at)
        active = extras.extra_of(self.run, self.no, 0)
        begun_at = active.begun_at if active is not None else None
        return max(0.0, now - (self.made_at if begun_at is None else begun_at))


class Bets:
    """The bets of one scheduler, and the steps at which one may be made soon."""

    def __init__(self) -> None:
        self._open: dict[StepKey, Bet] = {}
        self._adopted: dict[StepKey, LiveRun] = {}
        self._chances: deque[tuple[LiveRun, int]] = deque()
        self._listed: set[StepKey] = set()

    # --- what happens ---------------------------------------------------------------------------

    def taken(self, turn: Turn, run: LiveRun) -> None:
        """A run was taken up, new or half done."""
        for no, progress in enumerate(run.steps):
            if progress.state is StepState.RUNNING:
                self._expanded(turn, run, no)

    def follow(self, turn: Turn, runs: Mapping[str, LiveRun]) -> None:
        """Draw the consequences of what was decided in this turn; what follows from them is followed too."""
        records, position = turn.verdict.records, 0
        while position < len(records):
            record = records[position]
            position += 1
            if isinstance(record, StepExpanded | StepFinished | RunChanged) and record.run_id in runs:
                run = runs[record.run_id]
                if isinstance(record, StepExpanded):
                    self._expanded(turn, run, record.step_no)
                elif isinstance(record, StepFinished):
                    self._finished(turn, run, record.step_no)
                else:
                    self._run_changed(turn, run)

    def reported(self, turn: Turn, run: LiveRun, no: int, report: NodeReport, worker: str) -> bool:
        """Take a worker's report of a bet; whether nothing is left to do about it."""
        bet, active = self._open.get((run.id, no)), run.active.get((no, report.item))
        if active is None or active.attempt != report.attempt:
            return False
        if bet is None:
            return self._adopted_ended(turn, run, no, report, worker)
        if report.outcome is Outcome.OK:
            bet.held, bet.worker = replace(report, begun_at=report.begun_at or active.begun_at), worker
            extras.release(turn, run, no, 0)
            if run.state is RunState.CANCELLING:
                self._drop(turn, bet, "its run is being stopped")
            return True
        ran_s = bet.ran_s(turn.now)
        extras.release(turn, run, no, 0)
        extras.ended(turn, run, no, report, worker)
        self._lose(turn, bet, f"its body ended as {report.outcome}", ran_s)
        return True

    def _adopted_ended(self, turn: Turn, run: LiveRun, no: int, report: NodeReport, worker: str) -> bool:
        """A bet that failed after it was adopted costs its node no try either; all else is as for any attempt."""
        adopted = self._adopted.pop((run.id, no), None) is not None
        if not adopted or report.outcome is Outcome.OK or run.state is RunState.CANCELLING:
            return False
        extras.release(turn, run, no, 0)
        extras.ended(turn, run, no, report, worker)
        self._send_own(turn, run, no)
        return True

    def guess_known(self, turn: Turn, run: LiveRun, event: GuessKnown) -> None:
        """A guess was compared with the real output."""
        for bet in [bet for bet in self._of(run) if bet.wager.guessed == event.step_no]:
            if event.right and bet.kept_back:
                self._adopt(turn, bet, "the guess was right")
            else:
                self._drop(turn, bet, "the guess was wrong")

    # --- what is done ---------------------------------------------------------------------------

    def place(self, turn: Turn, room: Room, most: int) -> list[Chunk]:
        """Make bets where slots are idle, up to ``most``; where there are too few, the latest give way."""
        if not (self._chances or self._open or self._adopted):
            return []
        slots, spare = spare_slots(room, QUEUE, turn.outstanding)
        if slots == 0 or QUEUE in room.paused:
            self._leave_queue(turn)
            spare = 0
        elif spare < 0:
            self._give_way(turn, -spare)
        wanted = max(0, min(spare, most, OPEN_MOST - len(self._open)))
        return [self._make(turn, run, no, found) for run, no, found in self._best(turn, room, wanted)]

    def forget(self, run_id: str) -> None:
        """A run is over."""
        for key in [key for key in (*self._open, *self._adopted) if key[0] == run_id]:
            self._open.pop(key, None)
            self._adopted.pop(key, None)

    # --- inside ---------------------------------------------------------------------------------

    def _expanded(self, turn: Turn, run: LiveRun, no: int) -> None:
        bet = self._open.get((run.id, no))
        if bet is not None and bet.wager.guessed is None:
            self._adopt(turn, bet, "the condition is true")
        elif bet is not None:
            self._keep_back(turn, bet)
        self._list_children(turn, run, no)

    def _finished(self, turn: Turn, run: LiveRun, no: int) -> None:
        step = run.step(no)
        bet = self._open.get((run.id, no))
        if bet is not None:
            self._drop(turn, bet, run.steps[no].reason or f"its step is {run.steps[no].state}")
        for guessed, guesser in [(no, step.guess), *((each, no) for each in step.guesses)]:
            if guesser is not None and own_output(run, guessed) and own_output(run, guesser):
                turn.request(NeedMatch(run.id, guessed))
        for each in step.guesses:
            self._list_children(turn, run, each)
        if not own_output(run, no):
            for bet in [bet for bet in self._of(run) if bet.wager.guessed == no]:
                self._drop(turn, bet, f"{step.path} gave no output of its own")

    def _run_changed(self, turn: Turn, run: LiveRun) -> None:
        if run.state.final:
            self.forget(run.id)
        elif run.state is RunState.CANCELLING:
            for bet in [bet for bet in self._of(run) if bet.held is not None]:
                self._drop(turn, bet, "its run is being stopped")

    def _list_children(self, turn: Turn, run: LiveRun, no: int) -> None:
        if not turn.policy.speculate or run.plan.value_of_time_usd_per_h is None:
            return
        for child in run.step(no).children:
            key = (run.id, child)
            if may_bet(run.plan, child) and key not in self._listed and child not in run.bet_at:
                self._listed.add(key)
                self._chances.append((run, child))

    def _best(self, turn: Turn, room: Room, wanted: int) -> list[tuple[LiveRun, int, Wager]]:
        """Up to ``wanted`` bets that are worth it among some of the chances; chances that are gone go."""
        found: list[tuple[LiveRun, int, Wager]] = []
        looked_at = list(islice(self._chances, _LOOKED_AT))
        for run, no in looked_at:
            self._chances.popleft()
            if run.state.final or run.steps[no].state is not StepState.WAITING or no in run.bet_at:
                self._listed.discard((run.id, no))
                continue
            self._chances.append((run, no))
            worth = wager(turn, room, run, no) if wanted else None
            if worth is not None:
                found.append((run, no, worth))
        return sorted(found, key=lambda each: -each[2].expected_gain_usd)[:wanted]

    def _make(self, turn: Turn, run: LiveRun, no: int, found: Wager) -> Chunk:
        run.bet_at.add(no)
        if found.guessed is not None:
            run.guessing[no] = found.guessed
        self._open[run.id, no] = Bet(run, no, found, turn.now)
        turn.record(Decision(run.id, "speculate", f"started: {found.reason}", turn.now, no, 0, found.figures()))
        return (extras.launch(turn, run, no, 0, AttemptKind.SPECULATIVE, QUEUE, found.takes_s),)

    def _keep_back(self, turn: Turn, bet: Bet) -> None:
        """The node is ready, and the word on the guess is about to come, unless there is nothing to compare."""
        assert bet.wager.guessed is not None
        if own_output(bet.run, bet.wager.guessed):
            bet.kept_back = True
            bet.run.steps[bet.no].cursor = 1
        else:
            self._drop(turn, bet, f"{bet.run.step(bet.wager.guessed).path} gave no output of its own")

    def _adopt(self, turn: Turn, bet: Bet, why: str) -> None:
        run, no = bet.run, bet.no
        saved_s = min(bet.ran_s(turn.now), turn.now - bet.made_at)
        if bet.held is None and extras.extra_of(run, no, 0) is None:
            self._drop(turn, bet, "it was stopped")
            return
        self._close(turn, bet, f"adopted: {why}", {"saved_s": saved_s})
        run.steps[no].cursor = 1  # no attempt of its own goes out
        if bet.held is not None:
            attempts.succeed(turn, run, no, extras.as_own(bet.held), bet.held.attempt, bet.worker)
        else:
            self._adopted[run.id, no] = run

    def _drop(self, turn: Turn, bet: Bet, why: str) -> None:
        wasted_s = bet.ran_s(turn.now)
        if bet.held is not None:
            held, error = bet.held, ErrorInfo("NotNeeded", why, retryable=False)
            turn.record(
                AttemptEnded(
                    bet.run.id, bet.no, 0, held.attempt, Outcome.CANCELLED, turn.now, error, bet.worker,
                    held.begun_at, held.ended_at,
                )
            )  # fmt: skip
        else:
            extras.drop(turn, bet.run, bet.no, 0, why)
        self._lose(turn, bet, why, wasted_s)

    def _lose(self, turn: Turn, bet: Bet, why: str, wasted_s: float) -> None:
        """Its attempt has ended for nothing; a node that it kept back runs as ever."""
        self._close(turn, bet, f"dropped: {why}", {"wasted_s": wasted_s, "wasted_usd": bet.wager.cost_usd})
        if bet.kept_back:
            self._send_own(turn, bet.run, bet.no)

    def _close(self, turn: Turn, bet: Bet, what: str, figures: dict[str, float]) -> None:
        del self._open[bet.run.id, bet.no]
        bet.run.guessing.pop(bet.no, None)
        turn.record(Decision(bet.run.id, "speculate", what, turn.now, bet.no, 0, figures))

    def _send_own(self, turn: Turn, run: LiveRun, no: int) -> None:
        progress = run.steps[no]
        if progress.state is StepState.RUNNING and not progress.finals[0]:
            progress.again.append(0)
            turn.ready.add(run, no)

    def _give_way(self, turn: Turn, count: int) -> None:
        """Stop the latest bets that occupy slots, those that nobody has begun first."""
        occupying = [
            (active.begun_at is None, active.dispatched_at, bet)
            for bet in self._open.values()
            if (active := extras.extra_of(bet.run, bet.no, 0)) is not None and bet.run.state is not RunState.CANCELLING
        ]
        for _, _, bet in sorted(occupying, key=lambda each: each[:2], reverse=True)[:count]:
            self._drop(turn, bet, "its slot is wanted for work that is certain")

    def _leave_queue(self, turn: Turn) -> None:
        """Nobody serves the queue of bets: what is certain to be wanted must not wait there."""
        for bet in [bet for bet in self._open.values() if bet.held is None]:
            if bet.run.state is not RunState.CANCELLING:
                self._drop(turn, bet, f"no worker serves the queue {QUEUE}")
        for (_, no), run in list(self._adopted.items()):
            if extras.extra_of(run, no, 0) is not None and run.state is not RunState.CANCELLING:
                extras.drop(turn, run, no, 0, f"no worker serves the queue {QUEUE}")
                self._send_own(turn, run, no)
        self._adopted.clear()

    def _of(self, run: LiveRun) -> Iterator[Bet]:
        return (bet for bet in self._open.values() if bet.run is run)
