"""Runs that end before their steps have: the goal is reached, or it is out of reach.

A run that ends early is stopped like a cancelled one, so that a scheduler which takes over goes on
stopping it; the reason says which way it ends. Judges no expression: whoever holds the values does.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from engine.dag.compiled import Ending
from engine.scheduling import pruning, sampling
from engine.scheduling.events import NeedVerdict, Question, VerdictKnown
from engine.scheduling.joins import LENIENT, may_be_excused
from engine.scheduling.news import News
from engine.scheduling.records import AttemptEnded, RunState, StepState
from engine.scheduling.state import LiveRun
from engine.scheduling.steps import GIVEN_UP, GOAL_REACHED, cancel, close_step, finish_if_over, settle
from engine.scheduling.turn import Turn
from engine.wire import Outcome

_GOING = (RunState.RUNNING, RunState.PAUSED)
_OF_RUN = -1


def look(turn: Turn, run: LiveRun) -> None:
    """Ask, at the end of a turn, whatever its news give reason to ask."""
    news = run.news
    if news is None or run.state not in _GOING:
        return
    for no in sorted(news.joins):
        if run.steps[no].state is StepState.WAITING:
            _ask(turn, run, news, Question.UNTIL, no)
    news.joins.clear()
    sampling.look(turn, run)
    if run.plan.ending is not None:
        _look_at_run(turn, run, run.plan.ending, news)
    news.ended.clear()
    news.failed.clear()
    finish_if_over(turn, run)


def verdict_known(turn: Turn, run: LiveRun, event: VerdictKnown) -> None:
    """An expression was judged."""
    news = run.news
    if news is None:
        return
    news.asked.discard((event.question, event.step_no))
    if run.state not in _GOING:
        return
    match event.question:
        case Question.GOAL if event.holds and not run.steps_left:
            run.ending, run.reason = RunState.SUCCEEDED, GOAL_REACHED + event.reason  # nothing is left to stop
        case Question.GOAL if event.holds:
            _stop(turn, run, RunState.SUCCEEDED, GOAL_REACHED + event.reason, "goal")
        case Question.IMPOSSIBLE if event.holds:
            _stop(turn, run, RunState.FAILED, f"{GIVEN_UP}impossible: {event.reason}", "impossible")
        case Question.GOAL | Question.IMPOSSIBLE if event.error is not None:
            _stop(turn, run, RunState.FAILED, f"{GIVEN_UP}{event.question}: {event.error}", str(event.question))
        case Question.UNTIL:
            _join_judged(turn, run, event)
        case Question.ENOUGH | Question.VOTE:
            sampling.judged(turn, run, event)


def _join_judged(turn: Turn, run: LiveRun, event: VerdictKnown) -> None:
    no = event.step_no
    progress = run.steps[no]
    if progress.state is not StepState.WAITING or progress.held:
        return
    if event.error is not None:
        settle(turn, run, close_step(turn, run, no, StepState.FAILED, event.error))
    elif event.holds:
        progress.held = True
        settle(turn, run, [no])
    elif not progress.open_parents:
        why = f"join until cannot hold: {run.step(no).join.until}"
        settle(turn, run, close_step(turn, run, no, StepState.SKIPPED, why))


def _look_at_run(turn: Turn, run: LiveRun, ending: Ending, news: News) -> None:
    told = {stand for no in news.ended for stand in (no, run.step(no).fallback_of)}
    if ending.goal is not None and not told.isdisjoint(ending.goal_names.values() or news.ended):
        _ask(turn, run, news, Question.GOAL, _OF_RUN)
    if not run.steps_left:
        return  # it ends by itself, and says how
    about = told | news.failed
    if ending.impossible is not None and not about.isdisjoint(ending.impossible_names.values() or about):
        _ask(turn, run, news, Question.IMPOSSIBLE, _OF_RUN)
    if ending.same_error is not None:
        _count_errors(turn, run, ending.same_error, news)
    if ending.when_out_of_reach and run.state in _GOING:
        _look_at_reach(turn, run, ending, news)


def _count_errors(turn: Turn, run: LiveRun, most: int, news: News) -> None:
    for record in turn.verdict.records:
        if not isinstance(record, AttemptEnded) or record.run_id != run.id or record.error is None:
            continue
        if record.outcome in (Outcome.FAILED, Outcome.TIMED_OUT):
            news.failed_with(f"{record.error.type}: {record.error.message}", most)
    if news.repeated:
        count, error = max((count, error) for error, count in news.repeated.items())
        why = f"{GIVEN_UP}{count} attempts failed with the same error, {error[:200]}"
        _stop(turn, run, RunState.FAILED, why, "same_error")


def _look_at_reach(turn: Turn, run: LiveRun, ending: Ending, news: News) -> None:
    """Give up a run that failed for good, once nothing that is open leads to its goal or its outputs."""
    if news.doomed is None:
        news.doomed = next(_unforgiven(run, news.ended), None)
    if news.doomed is None or (Question.GOAL, _OF_RUN) in news.asked:
        return
    wanted = ending.goal_names if ending.goal is not None else run.plan.names
    if any(not run.steps[no].state.final for no in wanted.values()):
        return
    what = "the goal" if ending.goal is not None else "an output"
    why = f"{GIVEN_UP}{run.step(news.doomed).path} failed, and nothing left leads to {what}"
    _stop(turn, run, RunState.FAILED, why, "out_of_reach")


def _unforgiven(run: LiveRun, ended: Iterable[int]) -> Iterator[int]:
    """Steps whose failure no consumer can do without, as far as the end of ``ended`` decides it."""
    for no in ended:
        state = run.steps[no].state
        if state is StepState.FAILED and not may_be_excused(run, no):
            yield no
        elif state is not StepState.SUCCEEDED and run.step(no).join.kind in LENIENT:
            for parent in run.step(no).parents:
                if run.steps[parent].state is StepState.FAILED and parent != run.step(no).fallback_of:
                    yield parent


def _ask(turn: Turn, run: LiveRun, news: News, question: Question, no: int) -> None:
    if (question, no) not in news.asked:
        news.asked.add((question, no))
        turn.request(NeedVerdict(run.id, question, no))


def _stop(turn: Turn, run: LiveRun, ending: RunState, why: str, by: str) -> None:
    """End the run early: nothing more is dispatched, and what runs is told to stop."""
    left = [no for no, progress in enumerate(run.steps) if not progress.state.final]
    known = [run.steps[no] for no in left if run.steps[no].count is not None]
    running = len(run.active)
    open_nodes = sum((progress.count or 0) - progress.ended for progress in known)
    turn.record(pruning.decision(turn, run, None, why, {
        "by": by, "steps_stopped": len(left), "steps": [run.step(no).path for no in left[: pruning.SHOWN]],
        "nodes_running": running, "nodes_never_begun": max(0, open_nodes - running),
        "steps_never_begun": len(left) - len(known),
    }))  # fmt: skip
    cancel(turn, run, ending, why)
