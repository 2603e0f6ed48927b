"""Why a run, a step or a node went as it did: what is stored of it, in order and in words.

Nothing is decided or guessed here beyond what the rows say, and no more than ``limit`` lines of each sort
are read, whatever the run's size.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from engine.errors import NotFound
from engine.ids import node_key
from engine.store import reasons
from engine.store.views import AttemptView, RunView, StepView

if TYPE_CHECKING:
    from engine.store.runs import RunStore

LIMIT = 200
"""Lines of each sort that are shown unless told otherwise."""
Steps = Mapping[int, reasons.StepEnd | StepView]
"""Steps by number, as far as lines name them."""
_PARENTS_SHOWN = 5
_NOTICEABLE_S = 0.001


@dataclass(frozen=True, slots=True)
class Line:
    """One thing that happened or was decided.

    Parameters
    ----------
    at
        Seconds since the epoch; ``None`` for what holds now.
    kind
        A decision's kind, or ``run``, ``step``, ``node``, ``attempt``, ``operator``.
    where
        A step's path or a node's key; empty for the run.
    """

    at: float | None
    kind: str
    where: str
    words: str
    figures: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Explanation:
    """What can be said, oldest first; ``left_out`` counts the lines that would have been too many."""

    run: str
    where: str
    lines: tuple[Line, ...]
    attempts: tuple[reasons.KindCount, ...]
    left_out: int

    def data(self) -> dict[str, Any]:
        """As plain data, by name."""
        return asdict(self)


def explain_run(store: RunStore, run: RunView, limit: int = LIMIT) -> Explanation:
    """Everything that was decided about a run."""
    found, total = reasons.decisions(store.database, run.id, limit)
    ends, ended = reasons.remarkable_ends(store.database, run.id, limit)
    numbers = sorted({each.step_no for each in found if each.step_no is not None})
    steps: Steps = {step.step_no: step for step in reasons.step_ends(store.database, run.id, numbers)}
    lines = [*_of_run(run), *(_decision(each, steps) for each in found)]
    lines += [Line(end.finished_at, "step", end.path, f"{end.state}: {end.reason}") for end in ends]
    lines += _commands(store, run.id, limit)
    left_out = total - len(found) + ended - len(ends)
    return Explanation(run.id, "", _in_order(lines), tuple(reasons.kinds(store.database, run.id)), left_out)


def explain_step(
    store: RunStore, run: RunView, step: StepView, item: int | None = None, limit: int = LIMIT
) -> Explanation:
    """Why a step, or its node ``item``, came when it came and ended as it did.

    Raises
    ------
    NotFound
        The step has no such node.
    """
    if item is None and not step.fanned:
        item = 0
    where = step.path if item is None else node_key(step.path, item, step.fanned)
    if item and item >= (step.count or 0):
        raise NotFound(f"run {run.id} has no node {where}; {step.path} has {step.count or 0}")
    found, total = reasons.decisions(store.database, run.id, limit, step.step_no, item)
    lines = [*_waited_for(store, run, step), *(_decision(each, {step.step_no: step}) for each in found)]
    if step.reason and step.finished_at is not None:
        lines.append(Line(step.finished_at, "step", step.path, f"{step.state.value}: {step.reason}"))
    if item is not None:
        lines += _of_node(store, run, step, item, where)
    elif step.finished_at is not None and not step.reason:
        counts = f"{step.succeeded} succeeded, {step.failed} failed, {step.skipped} were skipped"
        lines.append(Line(step.finished_at, "step", step.path, f"{step.state.value}: {counts}"))
    counted = reasons.kinds(store.database, run.id, step.step_no) if item is None else []
    return Explanation(run.id, where, _in_order(lines), tuple(counted), total - len(found))


def span_words(seconds: float) -> str:
    """A duration in words: ``12 ms``, ``3.4 s``."""
    return f"{seconds * 1000:.0f} ms" if seconds < 0.9995 else f"{seconds:.1f} s"


def _of_run(run: RunView) -> Iterator[Line]:
    yield Line(run.created_at, "run", "", f"submitted, priority {run.priority}")
    if run.started_at is not None:
        yield Line(run.started_at, "run", "", f"taken up after {span_words(run.started_at - run.created_at)}")
    if run.finished_at is not None:
        partial = ", and not all that was asked for was done" if run.partial else ""
        yield Line(run.finished_at, "run", "", f"{run.state.value}: {run.reason or 'no reason'}{partial}")
    elif run.reason:
        yield Line(None, "run", "", f"{run.state.value}: {run.reason}")


def _commands(store: RunStore, run_id: str, limit: int) -> Iterator[Line]:
    for command in reasons.commands(store.database, run_id, limit):
        fate = "not carried out yet" if command.handled_at is None else "done"
        told = f"refused: {command.error}" if command.error else fate
        yield Line(command.handled_at or command.created_at, "operator", "", f"asked to {command.kind}; {told}")


def _decision(each: Any, steps: Steps) -> Line:
    step = steps.get(each.step_no) if each.step_no is not None else None
    where = ""
    if step is not None:
        where = step.path if each.item is None else node_key(step.path, each.item, step.fanned)
    return Line(each.at, each.kind, where, each.reason, each.figures)


def _waited_for(store: RunStore, run: RunView, step: StepView) -> Iterator[Line]:
    """What the step's join and its condition were waiting for."""
    ends = reasons.step_ends(store.database, run.id, step.parents) if step.parents else []
    if step.expanded_at is None and not step.state.final:
        still = [end.path for end in ends if end.finished_at is None]
        what = f"waits for {_some(still)} to end" if still else "waits for its condition or its items to be known"
        yield Line(None, "step", step.path, f"{what} (join {step.join_kind})")
        return
    for end in [each for each in ends if each.finished_at is not None][-_PARENTS_SHOWN:]:
        yield Line(end.finished_at, "step", step.path, f"waited for {end.path}, which {_ended(end.state)}")
    if step.expanded_at is not None:
        since = run.started_at if not ends or ends[-1].finished_at is None else ends[-1].finished_at
        after = (
            "" if since is None or not ends else f", {span_words(max(0.0, step.expanded_at - since))} after the last"
        )
        nodes = f"has {step.count} nodes" if step.fanned else "is ready"
        yield Line(step.expanded_at, "step", step.path, f"{nodes}: its join ({step.join_kind}) held{after}")


def _of_node(store: RunStore, run: RunView, step: StepView, item: int, where: str) -> Iterator[Line]:
    tries = store.attempts(run.id, step.step_no, item)
    ready_at = step.expanded_at
    for number, each in enumerate(tries):
        if each.dispatched_at is not None:
            waited = _waited_to_go(store, run, each, ready_at) if number == 0 else ""
            words = f"attempt {each.attempt} ({each.kind}) went out to queue {each.queue}{waited}"
            yield Line(each.dispatched_at, "attempt", where, words)
        if each.begun_at is not None:
            yield Line(each.begun_at, "attempt", where, _begun(each))
        if each.outcome is not None:
            yield Line(each.ended_at or each.begun_at or each.dispatched_at, "attempt", where, _end(each))
    nodes = store.nodes(run.id, step.step_no, None, 1, item - 1)
    if not nodes:
        return
    node = nodes[0]
    if node.finished_at is not None:
        yield Line(node.finished_at, "node", where, _won(tries, node.state, node.attempt, node.reason))
    elif node.state in ("ready", "retrying"):
        paused_at = reasons.paused_since(store.database, step.queue)
        held = f"; queue {step.queue} is paused" if paused_at is not None else ""
        held = "; its run is paused" if run.state.value == "paused" else held
        yield Line(None, "node", where, f"{node.state}: waits for its turn{held}")
    else:
        yield Line(None, "node", where, f"is {node.state}")


def _waited_to_go(store: RunStore, run: RunView, first: AttemptView, ready_at: float | None) -> str:
    if ready_at is None or first.dispatched_at is None or first.dispatched_at - ready_at < _NOTICEABLE_S:
        return " at once"
    before = reasons.ahead(
        store.database, run.id, first.step_no, first.queue, ready_at, first.dispatched_at
    )  # fmt: skip
    gone = [f"{before.own_step} of its step"] * bool(before.own_step) + [
        f"{before.others} of other steps"] * bool(before.others)  # fmt: skip
    behind = f"; {' and '.join(gone)} went out before it" if gone else ""
    return f", {span_words(first.dispatched_at - ready_at)} after it was ready{behind}"


def _begun(each: AttemptView) -> str:
    if each.dispatched_at is None:
        return f"attempt {each.attempt} ({each.kind}) began: {each.worker} repeated it on the spot"
    waited_s = max(0.0, (each.begun_at or 0.0) - each.dispatched_at)
    return f"attempt {each.attempt} began on {each.worker or 'a worker'}, {span_words(waited_s)} after it went out"


def _end(each: AttemptView) -> str:
    took = ""
    if each.begun_at is not None and each.ended_at is not None:
        took = f" after {span_words(max(0.0, each.ended_at - each.begun_at))}"
    assert each.outcome is not None
    error = f": {each.error.type}: {each.error.message}" if each.error is not None else ""
    again = ""
    if each.retry_at is not None and each.ended_at is not None and each.retry_at - each.ended_at >= _NOTICEABLE_S:
        again = f"; to be tried again {span_words(max(0.0, each.retry_at - each.ended_at))} later"
    return f"attempt {each.attempt} ({each.kind}) ended as {each.outcome.value}{took}{error}{again}"


def _won(tries: list[AttemptView], state: str, attempt: int | None, reason: str) -> str:
    why = f": {reason}" if reason else ""
    if attempt is None:
        return f"{state} without an attempt of this run{why}"
    kind = next((each.kind for each in tries if each.attempt == attempt), "")
    rivals = f" of {len(tries)}" if len(tries) > 1 else ""
    return f"{state} by attempt {attempt}{rivals}{f' ({kind})' if kind else ''}{why}"


def _ended(state: str) -> str:
    return {"failed": "failed", "succeeded": "succeeded"}.get(state, f"was {state}")


def _some(names: list[str]) -> str:
    return ", ".join(names[:_PARENTS_SHOWN]) + (f" and {len(names) - _PARENTS_SHOWN} more" * (len(names) > 5))


def _in_order(lines: list[Line]) -> tuple[Line, ...]:
    """By time, what holds now last; what is of one moment stays in the order it was made."""
    return tuple(sorted(lines, key=lambda line: (line.at is None, line.at or 0.0)))
