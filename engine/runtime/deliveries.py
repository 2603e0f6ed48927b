"""How an attempt becomes a message: its step's arguments, and all that they refer to.

A message is made again whenever it is published again, always from the journal's values.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from engine.errors import UsageError
from engine.plan.tasktype import Effects
from engine.runtime.answers import Answers, facts_of
from engine.runtime.caring import Caring
from engine.runtime.ports import RunRow
from engine.runtime.values import Values
from engine.scheduling.ahead import comes_too_soon
from engine.scheduling.attempts import chance
from engine.scheduling.events import Placement
from engine.scheduling.prefetches import QUEUE as PREFETCH_QUEUE
from engine.scheduling.state import LiveRun
from engine.wire import Ahead, Delivery, NodeCall, Prefetch, RetryRule, Value, real_item


class Deliveries:
    """Makes deliveries; what the nodes of a step share is made once.

    ``mark_after_s`` says of a run's step how long its bodies may run before they are reported as begun, ``ahead``
    where its body finds what was read ahead for it; ``caring`` says what travels of how its calls are made.
    Both methods may raise ``Unavailable`` (try again later) and ``UsageError`` (it can never be made).
    """

    def __init__(
        self,
        values: Values,
        answers: Answers,
        shard: int,
        retry_in_worker_max_s: float,
        mark_after_s: Callable[[LiveRun, int], float | None],
        ahead: Callable[[LiveRun, int], Ahead | None],
        caring: Caring,
    ) -> None:
        self._values = values
        self._answers = answers
        self._shard = shard
        self._retry_in_worker_max_s = retry_in_worker_max_s
        self._mark_after_s = mark_after_s
        self._ahead = ahead
        self._caring = caring
        self._shared: dict[tuple[str, int, int | None], tuple[Value, Value]] = {}

    def make(
        self, run: LiveRun, row: RunRow, nodes: Sequence[NodeCall], step_no: int, token: str, epoch: str, queue: str
    ) -> Delivery:
        """The message of ``nodes`` of one step."""
        step = run.step(step_no)
        guessed = run.guessing.get(step.no) if nodes[0].item < 0 else None
        with_, shared = self._of_step(run, row, step.no, guessed)
        return Delivery(
            token=token, epoch=epoch, shard=self._shard, run_id=run.id, tenant=row.tenant, session=row.session,
            plan=row.plan_name, step_no=step.no, path=step.path, fanned=step.fanned, task=step.task, queue=queue,
            effects=step.effects, nodes=tuple(nodes), with_=with_, shared=shared,
            timeout_s=step.timeout_s, retry=self._retry_rule(run, step_no, nodes[0].item),
            mark_after_s=self._mark_after_s(run, step_no),
            ahead=None if step.fanned or nodes[0].item < 0 else self._ahead(run, step_no),
            care=self._caring.care(run, step),
        )  # fmt: skip

    def ahead_of(self, run: LiveRun, row: RunRow, step_no: int, token: str, epoch: str, limits: Prefetch) -> Delivery:
        """The message that reads ahead for a step, with no more than that takes."""
        step = run.step(step_no)
        wanted = step.prefetch
        assert wanted is not None
        arguments = {name: step.with_[name] for name in wanted.arguments}
        views = {name: no for name, no in step.names.items() if no in wanted.reads}
        steps: Value = {"map": {name: {"map": self._values.view(run, no)} for name, no in views.items()}}
        inputs = self._inputs(run, row, step_no) if wanted.inputs else {"map": {}}
        shared: Value = {"map": {"inputs": inputs, "steps": steps, "run": {"v": facts_of(row)}}}
        return Delivery(
            token=token, epoch=epoch, shard=self._shard, run_id=run.id, tenant=row.tenant, session=row.session,
            plan=row.plan_name, step_no=step.no, path=step.path, fanned=False, task=step.task, queue=PREFETCH_QUEUE,
            effects=Effects.NONE, nodes=(NodeCall(0, 0),), with_=self._values.travelling({"v": arguments}),
            shared=self._values.travelling(shared), timeout_s=min(limits.fresh_s, step.timeout_s or limits.fresh_s),
            prefetch=limits,
        )  # fmt: skip

    def followed(
        self, head: Delivery, run: LiveRun, row: RunRow, followers: Sequence[tuple[int, NodeCall]]
    ) -> Delivery:
        """``head`` with further steps in the same message: number and node of each."""
        then: list[Delivery] = []
        inside = {head.step_no}
        for no, call in followers:
            step = run.step(no)
            given = {name: number for name, number in step.names.items() if number in inside and number in step.reads}
            with_, shared = self._made(run, row, no, None, frozenset(given))
            then.append(
                replace(
                    head, step_no=no, path=step.path, fanned=False, task=step.task, effects=step.effects, nodes=(call,),
                    with_=with_, shared=shared, timeout_s=step.timeout_s, retry=self._retry_rule(run, no, call.item),
                    given=given, mark_after_s=self._mark_after_s(run, no), follows=comes_too_soon(run, no),
                    care=self._caring.care(run, step),
                )
            )  # fmt: skip
            inside.add(no)
        return replace(head, then=tuple(then))

    def forget(self, run_id: str) -> None:
        """A run ended."""
        self._caring.forget(run_id)
        for key in [key for key in self._shared if key[0] == run_id]:
            del self._shared[key]

    def node(self, run: LiveRun, row: RunRow, placement: Placement) -> NodeCall:
        """What one attempt brings to its message."""
        step = run.step(placement.step_no)
        if not step.fanned:
            return NodeCall(placement.item, placement.attempt)
        items = self._answers.items(run, row, step.no)
        own = real_item(placement.item)
        if own >= len(items):
            raise UsageError(f"{step.path} has {len(items)} items now, and had more when it was expanded")
        item = self._values.travelling(items[own])
        return NodeCall(placement.item, placement.attempt, {"map": {"item": item, "index": {"v": own}}})

    def _of_step(self, run: LiveRun, row: RunRow, step_no: int, guessed: int | None) -> tuple[Value, Value]:
        """The arguments as written, and what they refer to; for the step ``guessed`` its guess stands in."""
        key = (run.id, step_no, guessed)
        if key not in self._shared:
            self._shared[key] = self._made(run, row, step_no, guessed, frozenset())
        return self._shared[key]

    def _made(
        self, run: LiveRun, row: RunRow, step_no: int, guessed: int | None, left_out: frozenset[str]
    ) -> tuple[Value, Value]:
        step = run.step(step_no)
        views = {name: no for name, no in step.names.items() if no in step.reads and name not in left_out}
        steps: Value = {"map": {name: {"map": self._view(run, no, no == guessed)} for name, no in views.items()}}
        shared: Value = {
            "map": {"inputs": self._inputs(run, row, step_no), "steps": steps, "run": {"v": facts_of(row)}}
        }
        return self._values.travelling({"v": step.with_}), self._values.travelling(shared)

    def _view(self, run: LiveRun, step_no: int, guessed: bool) -> dict[str, Value]:
        guesser = run.step(step_no).guess
        return self._values.view(run, step_no if guesser is None or not guessed else guesser)

    def _inputs(self, run: LiveRun, row: RunRow, step_no: int) -> Value:
        step = run.step(step_no)
        if not step.reads_inputs:
            return {"map": {}}
        if step.inputs_step is not None:
            return self._values.output(run, step.inputs_step)
        return self._answers.given(row, step.reads_inputs)

    def _retry_rule(self, run: LiveRun, step_no: int, item: int) -> RetryRule | None:
        """Waits that a worker may sit out itself: short ones, of bodies that may be repeated."""
        if item < 0:
            return None  # a copy that fails leaves the node, and its tries, to the node's own attempt
        step = run.step(step_no)
        trouble = run.trouble.get((step_no, item))
        used = trouble.tries if trouble else 0
        if step.effects == Effects.EXTERNAL or used + 1 >= step.retry.attempts:
            return None
        waits_s = []
        for tries in range(used + 1, step.retry.attempts):
            wait_s = step.retry.wait_s(tries, chance(run.id, step.no, item, tries))
            if wait_s > self._retry_in_worker_max_s:
                break
            waits_s.append(wait_s)
        return RetryRule(tuple(waits_s), self._retry_in_worker_max_s, step.retry.on) if waits_s else None
