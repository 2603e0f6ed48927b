"""Fan-outs that end before all their nodes have: enough was sampled, or the vote is settled.

What holds is judged by whoever has the values; here the rest of the step is stopped.
"""

from __future__ import annotations

from engine.scheduling import pruning
from engine.scheduling.events import NeedVerdict, Question, VerdictKnown
from engine.scheduling.records import StepState
from engine.scheduling.state import LiveRun
from engine.scheduling.steps import close_step, settle
from engine.scheduling.turn import Turn


def look(turn: Turn, run: LiveRun) -> None:
    """Ask of each fan-out with a node more whether that is enough: once a turn, and less often as it grows."""
    news = run.news
    if news is None:
        return
    for no in sorted(news.sampled):
        step, progress = run.step(no), run.steps[no]
        question = Question.VOTE if step.voting is not None else Question.ENOUGH
        if not step.sampled or progress.state is not StepState.RUNNING or (question, no) in news.asked:
            continue
        done = progress.succeeded + progress.failed
        if done and progress.ended < (progress.count or 0) and news.due(no, done):
            news.asked.add((question, no))
            turn.request(NeedVerdict(run.id, question, no))
    news.sampled.clear()


def judged(turn: Turn, run: LiveRun, event: VerdictKnown) -> None:
    """Stop the rest of the fan-out if what ended is enough; it succeeds with that."""
    no = event.step_no
    progress = run.steps[no]
    if progress.state is not StepState.RUNNING or not (event.holds or event.error is not None):
        return
    had, failed, count = progress.succeeded, progress.failed, progress.count
    why = event.error if event.error is not None else f"enough: {event.reason}"
    ended = pruning.stop_nodes(turn, run, no, f"not needed: {why}" if event.error is None else why)
    progress.tolerated = bool(failed) and event.error is None
    turn.record(pruning.decision(turn, run, no, f"{run.step(no).path}: {why}", {
        "by": str(event.question), "nodes": count, "succeeded": had, "failed": failed, "nodes_running": ended.running,
        "nodes_never_begun": ended.never_begun, **event.figures,
    }))  # fmt: skip
    state = StepState.SUCCEEDED if event.error is None else StepState.FAILED
    settle(turn, run, close_step(turn, run, no, state, why))
