"""What is told of how ready nodes go out: their order, their messages, and what held them back.

Each is told at most a few times a step and ``MOST`` times a run, never once a node, so that a run of
100,000 nodes has no more to journal than one of a hundred. Nothing here decides: ``dispatch`` does.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from engine.dag.compiled import CompiledStep
from engine.plan.tasktype import Effects
from engine.scheduling.events import Chunk
from engine.scheduling.outstanding import Room
from engine.scheduling.records import Decision
from engine.scheduling.state import LiveRun
from engine.scheduling.turn import Turn

MOST = 200
"""Things told of one run's dispatch, by one scheduler."""
_SIZE_CHANGE = 4
"""A message's nodes are told again when they are so many times more, or fewer, than was told last."""
_SIZES_A_STEP = 6


def ordered(turn: Turn, run: LiveRun, no: int, queue: str) -> None:
    """The step's first nodes go out now, before those of the run's other steps that are ready."""
    if len(run.told) >= MOST or run.steps[no].cursor or (no, "order") in run.told:
        return
    rivals, runner_up = turn.ready.rivals(queue)
    if runner_up is None or run.ranks[runner_up] == run.ranks[no]:
        return  # nothing to choose, or the order in which the plan has them
    rank_s, next_s, other = run.ranks[no], run.ranks[runner_up], run.step(runner_up).path
    others = f"{other} and {rivals - 1} more" if rivals > 1 else other
    reason = (
        f"goes before {others}: from here to the end of the run it takes about {rank_s:.3g} s, "
        f"from {other} about {next_s:.3g} s"
    )
    _tell(turn, run, no, "order", reason, {"rank_s": rank_s, "next_rank_s": next_s, "rivals": rivals})


def sized(turn: Turn, run: LiveRun, no: int, size: int) -> None:
    """So many of a fan-out's nodes travel in a message from now on."""
    if not run.step(no).fanned or run.step(no).child is not None:
        return
    told = run.told.get((no, "size"))
    if told is not None and (told < _SIZE_CHANGE * size and size < _SIZE_CHANGE * told):
        return
    if run.told.get((no, "sizes"), 0) >= _SIZES_A_STEP:
        return
    run.told[no, "sizes"] = run.told.get((no, "sizes"), 0) + 1
    step = run.step(no)
    typical_s = turn.odds.typical_s(run.plan.name, step.path, step.task)
    figures = {"size": size, "typical_s": typical_s, "most": turn.policy.chunk_max, "before": told}
    run.told.pop((no, "size"), None)
    _tell(turn, run, no, "chunk", _why_size(turn, step, size, typical_s), figures, cause="size", mark=size)


def travel_together(turn: Turn, runs: Mapping[str, LiveRun], chunks: Iterable[Chunk]) -> None:
    """Nodes of several steps went out as one message."""
    for chunk in chunks:
        if len(chunk) < 2 or chunk[0].step_no == chunk[1].step_no:
            continue
        run, count, first = runs[chunk[0].run_id], len(chunk), chunk[0].step_no
        last = run.step(chunk[-1].step_no).path
        within = f"all together take less than {turn.policy.chunk_s:.3g} s"
        if run.steps[chunk[1].step_no].ahead:
            reason = f"{count} steps, to {last}, are one message: each waits for the one before only, and {within}"
            _tell(turn, run, first, "segment", reason, {"steps": count, "to": last})
        else:
            reason = f"{count} steps, to {last}, share a message: they are of one task type, and {within}"
            _tell(turn, run, first, "chunk", reason, {"steps": count, "to": last}, cause="mixture")


def window_full(turn: Turn, run: LiveRun, no: int, room: Room) -> None:
    """As much is out as the window takes."""
    queue, policy = run.queue(no), turn.policy
    out = turn.outstanding.count(queue)
    if run.step(no).child is not None:
        _tell(turn, run, no, "hold", f"waits: {out} runs below this one live already, and no more may", {
            "cause": "children", "out": out, "most": policy.children_max}, cause="children")  # fmt: skip
    elif queue not in room.slots:
        _tell(turn, run, no, "hold", f"waits: no worker that serves queue {queue} is known", {
            "cause": "no worker", "queue": queue, "out": out}, cause="no worker")  # fmt: skip
    else:
        slots = room.slots[queue]
        reason = (
            f"waits: queue {queue} has {out} attempts out, as much as {slots} slots do in {policy.window_s:.3g} s "
            "or hold in hand"
        )
        figures = {"cause": "window", "queue": queue, "out": out, "slots": slots, "window_s": policy.window_s}
        _tell(turn, run, no, "hold", reason, figures, cause="window")


def queue_paused(turn: Turn, queue: str) -> None:
    """An operator paused the queue of a step that is ready."""
    source = turn.ready.first(queue)
    if source is not None:
        run, no = source
        figures = {"cause": "paused", "queue": queue}
        _tell(turn, run, no, "hold", f"waits: queue {queue} is paused", figures, cause="paused")


def limited(turn: Turn, run: LiveRun, no: int, pools: Mapping[str, int], tokens: Mapping[str, int]) -> None:
    """The step's own limit, a pool or a rate keeps its ready nodes back."""
    step, out = run.step(no), run.steps[no].out
    if step.max_parallel is not None and out >= step.max_parallel:
        reason = f"waits: {out} of its nodes are out, and max_parallel is {step.max_parallel}"
        figures: dict[str, Any] = {"cause": "max_parallel", "out": out, "most": step.max_parallel}
        _tell(turn, run, no, "hold", reason, figures, cause="max_parallel")
    for pool in step.pools:
        if pools.get(pool, 0) <= 0:
            figures = {"cause": "pool", "pool": pool}
            _tell(turn, run, no, "hold", f"waits: no slot of pool {pool} is free", figures, cause=f"pool {pool}")
    if tokens.get(step.task, 1) <= 0:
        figures = {"cause": "rate", "task": step.task}
        _tell(turn, run, no, "hold", f"waits: the rate limit of {step.task} is used up", figures, cause="rate")


def _why_size(turn: Turn, step: CompiledStep, size: int, typical_s: float | None) -> str:
    nodes = "one node" if size == 1 else f"{size} nodes"
    if step.effects == Effects.EXTERNAL:
        return f"{nodes} a message: its effects are external, so each begins by itself"
    if typical_s is None:
        return f"{nodes} a message: nobody knows yet how long one takes"
    if size >= turn.policy.chunk_max:
        return f"{nodes} a message, as many as may: one takes about {typical_s:.3g} s"
    together_s = size * typical_s
    if size == 1 or together_s > turn.policy.chunk_s / 2:
        return f"{nodes} a message: one takes about {typical_s:.3g} s, and a message {turn.policy.chunk_s:.3g} s or so"
    return f"{nodes} a message, so that every slot gets some: one takes about {typical_s:.3g} s"


def _tell(
    turn: Turn, run: LiveRun, no: int, kind: str, reason: str, figures: Mapping[str, Any], *, cause: str = "",
    mark: int = 1,
) -> None:  # fmt: skip
    """Journal it, unless the same was told of the step, or enough was of the run."""
    key = (no, cause or kind)
    if key in run.told or len(run.told) >= MOST:
        return
    run.told[key] = mark
    turn.record(Decision(run.id, kind, reason, turn.now, no, None, dict(figures)))
