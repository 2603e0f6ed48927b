"""The invariants of docs/guarantees.md, judged by what is committed and by what bodies really did.

Nothing here asks the scheduler's memory: only the journal, the bodies, and the messages.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, Any

import orjson

from engine.artefacts.values import unpack
from engine.dag.compiled import CompiledStep, JoinKind, OnFailure
from engine.scheduling.records import AttemptKind, NodeState, RunState, StepState
from engine.scheduling.snapshot import StepRow
from engine.wire import Delivery, NodeCall, Outcome, Report, ReportKind, real_item
from tests.simulation import bodies, early
from tests.simulation.driver import Violation
from tests.simulation.faults import HARM_SCHEDULERS, HARM_WORKERS
from tests.simulation.limits import RunningBodies

if TYPE_CHECKING:
    from tests.simulation.simulation import Simulation

NodeKey = tuple[str, int, int]
_BODY_ENDED = (Outcome.OK, Outcome.FAILED, Outcome.TIMED_OUT)
_UNKNOWN = ("outcome unknown", "worker_lost", "given up")


class Audit:
    """Watches one simulation."""

    def __init__(self, sim: Simulation) -> None:
        self._sim = sim
        self.results: dict[str, NodeKey] = {}
        self.begins: Counter[NodeKey] = Counter()
        self.messages: Counter[NodeKey] = Counter()
        self.chunked = self.followed = self.bets = 0
        self._taken_ahead: dict[str, set[str]] = {}
        self.running = RunningBodies(sim)
        self._begun_attempts: set[tuple[NodeKey, int]] = set()
        self._tokens: dict[NodeKey, str] = {}

    # --- while it runs --------------------------------------------------------------------------

    def published(self, delivery: Delivery) -> None:
        """A message goes out. Invariant 2: its attempt is in the journal."""
        if delivery.prefetch is not None:
            self._sim.readings.published(delivery)
            return
        for part, call in delivery.parts():
            key = (delivery.run_id, part.step_no, call.item)
            rows = self._sim.journal.attempts.get(_node(key), {})
            if call.attempt not in rows or rows[call.attempt].dispatched_at is None:
                raise Violation(f"invariant 2: {key} attempt {call.attempt} is published and not journaled")
            self.messages[key] += 1
            self._tokens[key] = delivery.token
        self.chunked += len(delivery.nodes) > 1
        self.followed += len(delivery.then)
        if self._sim.driver.tracing:
            self._sim.driver.note("publish", f"{delivery.path} {delivery.nodes[0].item} {delivery.token}")

    def acknowledged(self, report: Report) -> None:
        """A report is deleted from its stream: what it says must be in the journal."""
        if report.kind is not ReportKind.DONE:
            return
        for node in report.nodes:
            key = (report.run_id, report.step_no if node.step_no is None else node.step_no, real_item(node.item))
            row = self._sim.journal.attempts[key].get(node.attempt)
            if row is not None and row.kind is AttemptKind.SPECULATIVE:
                continue  # held in memory: it may be lost, and its node is done as ever
            if node.outcome in _BODY_ENDED and key not in self._sim.journal.nodes and (row is None or not row.outcome):
                raise Violation(f"invariant 9: the report of {key} is deleted before it is recorded")

    def body_began(
        self, delivery: Delivery, call: NodeCall, inputs: Any, at: float, execution: str, behind: Mapping[int, Any]
    ) -> None:
        """A body is at its first line, having passed its begin mark.

        ``behind`` are the steps that succeeded in the same message before it, with what they gave.
        """
        sim = self._sim
        key = (delivery.run_id, delivery.step_no, real_item(call.item))
        if sim.driver.tracing:
            sim.driver.note("body", f"{delivery.path} {call.item} attempt {call.attempt} {delivery.token}")
        for run_id in self.line(delivery.run_id):
            gone_at = sim.journal.permits_gone_at.get(run_id)
            if gone_at is not None and at > gone_at:
                raise Violation(f"invariant 4: {key} begins at {at:.3f}, the permits of {run_id} went at {gone_at:.3f}")
        step = sim.plan_of(delivery.run_id).steps[delivery.step_no]
        early.body_began(sim, key, at)
        if sim.journal.attempts[key][call.attempt].kind is AttemptKind.SPECULATIVE:
            self._check_bet(delivery.run_id, step)
        elif not self._join_holds(delivery.run_id, step, behind):
            raise Violation(f"invariant 3: {key} begins and its join does not hold")
        given_here = {told for view in behind.values() for told in bodies.executions(view)}
        self.check_inputs(key, inputs, given_here)
        self._taken_ahead[execution] = given_here.intersection(bodies.executions(inputs))
        if step.effects == "external":
            self._check_external(key, call.attempt, step)
        self.begins[key] += 1
        self._begun_attempts.add((key, call.attempt))
        self.running.began(delivery, call, step)

    def _check_bet(self, run_id: str, step: CompiledStep) -> None:
        """Invariants 3 and 8: a bet does no harm, and all that it does not bet on has ended well."""
        self.bets += 1
        if step.effects != "none" or step.pools or step.fanned or step.child is not None:
            raise Violation(f"invariant 8: a bet on {step.path} of {run_id}, which has effects or limits")
        plan = self._sim.plan_of(run_id)
        open_ = [no for no in step.parents if (row := self._step(run_id, no)) is None or not row.state.final]
        on_guess = [no for no in open_ if plan.steps[no].guess is not None]
        if not (set(open_) <= set(step.condition_parents) or (len(open_) == 1 and open_ == on_guess)):
            raise Violation(f"invariant 3: a bet on {step.path} of {run_id} begins while {open_} are open")

    def stopped(self, delivery: Delivery, call: NodeCall) -> None:
        """A body was told to stop: nobody may want it any more."""
        own = (delivery.run_id, delivery.step_no, call.item)
        key = _node(own)
        row = self._sim.journal.attempts[key][call.attempt]
        going = self._sim.journal.runs[delivery.run_id].state in (RunState.RUNNING, RunState.PAUSED)
        # A scheduler that dies between permit and message leaves a permit of a message that never was.
        permit = self._sim.redis.data.permits.get(delivery.run_id, {}).get(f"{delivery.step_no}:{call.item}")
        current = self._tokens[own] if permit is None else permit[1]
        if going and key not in self._sim.journal.nodes and row.outcome is None and current == delivery.token:
            raise Violation(f"{key} was told to stop and is wanted")

    def failures(self, run_id: str, step_no: int, item: int) -> int:
        """Bodies of a node that failed, as far as the journal knows; an extra attempt costs its node no try."""
        rows = self._sim.journal.attempts[run_id, step_no, item].values()
        own = [row for row in rows if row.kind is None or not row.kind.extra]
        return sum(row.outcome in (Outcome.FAILED, Outcome.TIMED_OUT) for row in own)

    # --- at the end -----------------------------------------------------------------------------

    def ended(self, expected: Simulation | None) -> None:
        """Every run is over: the rest of the invariants."""
        for run_id in self._sim.journal.runs:
            self._check_end(run_id)
            self._check_attempts(run_id)
            early.check(self._sim, run_id)
            self._check_child(run_id)
        self._check_ahead()
        self._check_messages()
        self._check_losses()
        if expected is not None:
            for run_id in sorted(self._sim.journal.runs.keys() & expected.journal.runs.keys()):
                self._compare(run_id, expected)

    def line(self, run_id: str) -> list[str]:
        """A run and those above it."""
        parent = self._sim.journal.runs[run_id].parent
        return [run_id] if parent is None else [run_id, *self.line(parent.run_id)]

    def _tree(self, run_id: str) -> list[str]:
        """A run and those below it."""
        return [each for each in self._sim.journal.runs if run_id in self.line(each)]

    def _check_child(self, run_id: str) -> None:
        """A run that stands for a node ended no later than that node, and said what the node says."""
        journal = self._sim.journal
        parent = journal.runs[run_id].parent
        if parent is None:
            return
        above = (parent.run_id, parent.step_no, parent.item)
        node, attempts = journal.nodes.get(above), journal.attempts[above]
        if parent.attempt not in attempts or attempts[parent.attempt].dispatched_at is None:
            raise Violation(f"invariant 2: {run_id} was started for attempt {parent.attempt} of {above}, not journaled")
        row, outcome = journal.runs[run_id], attempts[parent.attempt].outcome
        stopped = parent.run_id in journal.permits_gone_at  # a node between two attempts then ends with its step
        if outcome is None or (node is None and not stopped):
            raise Violation(f"invariant 6: {run_id} ended as {row.state} and {above} did not")
        if outcome is Outcome.OK and row.state is not RunState.SUCCEEDED:
            raise Violation(f"{above} succeeded with {run_id}, which is {row.state}")
        if outcome is Outcome.OK and row.partial and not journal.runs[parent.run_id].partial:
            raise Violation(f"invariant 10: {run_id} is partial and {parent.run_id} does not say so")
        gone_at = journal.permits_gone_at.get(parent.run_id)
        if gone_at is not None and run_id not in journal.permits_gone_at and journal.ended_at[run_id] > gone_at:
            raise Violation(f"invariant 4: {parent.run_id} has no permits left and {run_id} may have")

    def _join_holds(self, run_id: str, step: CompiledStep, behind: Mapping[int, Any]) -> bool:
        parents = [self._step(run_id, parent) for parent in step.parents if parent != step.fallback_of]
        own = self._step(run_id, step.no)
        if own is None or own.count is None:
            return False
        if step.fallback_of is not None and not self._failed_nodes(run_id, step.fallback_of):
            return False
        good = sum(row is not None and row.state is StepState.SUCCEEDED for row in parents)
        good += sum(row is not None and not row.state.final and row.step_no in behind for row in parents)
        ended = sum(row is not None and row.state.final for row in parents)
        match step.join.kind:
            case JoinKind.ALL:
                return good == len(parents)
            case JoinKind.ANY:
                return good >= 1 or not parents
            case JoinKind.AT_LEAST:
                return good >= step.join.count
            case JoinKind.UNTIL:
                return early.holds(self._sim, run_id, step.join.until, step.names)
            case _:
                return ended == len(parents)

    def _step(self, run_id: str, no: int) -> StepRow | None:
        return self._sim.journal.steps.get((run_id, no))

    def _failed_nodes(self, run_id: str, no: int) -> int:
        nodes = self._sim.journal.nodes
        count = (self._step(run_id, no) or StepRow(no, StepState.WAITING, 0)).count or 0
        keys = [(run_id, no, item) for item in range(count)]
        return sum(key in nodes and nodes[key].state is NodeState.FAILED for key in keys)

    def check_inputs(self, key: NodeKey, inputs: Any, given_here: Collection[str] = ()) -> None:
        """What is given to a body is the recorded results, or those of the same message."""
        for execution in bodies.executions(inputs):
            if execution in given_here:
                continue  # no result in the journal yet; see _check_ahead
            source = self.results.get(execution)
            node = self._sim.journal.nodes.get(source) if source is not None else None
            told = unpack(orjson.loads(node.result), self._sim.artefacts) if node and node.result else {}
            if told.get("x") != execution:
                raise Violation(f"{key} was given {execution} of {source}, which is not the recorded result")

    def _check_ahead(self) -> None:
        """What a recorded result was made of, in one message with it, was recorded too."""
        for key, node in self._sim.journal.nodes.items():
            told = unpack(orjson.loads(node.result), self._sim.artefacts) if node.result else {}
            if isinstance(told, dict) and "x" in told:
                self.check_inputs(key, [{"x": each} for each in self._taken_ahead.get(told["x"], ())], ())

    def _check_external(self, key: NodeKey, attempt: int, step: CompiledStep) -> None:
        row = self._sim.journal.attempts[key].get(attempt)
        if row is None or row.begun_at is None:
            raise Violation(f"invariant 9: external {key} begins before its mark is stored")
        if (key, attempt) in self._begun_attempts:
            raise Violation(f"invariant 9: external {key} begins twice in attempt {attempt}")
        if self.begins[key] + 1 > step.retry.attempts:
            raise Violation(f"invariant 9: external {key} begins for time {self.begins[key] + 1}")

    def _check_end(self, run_id: str) -> None:
        """Invariants 6 and 10."""
        row, plan, journal = self._sim.journal.runs[run_id], self._sim.plan_of(run_id), self._sim.journal
        if not row.state.final or not row.reason:
            raise Violation(f"invariant 6: {run_id} ended as {row.state} for {row.reason!r}")
        steps = {no: journal.steps.get((run_id, no)) for no in range(len(plan.steps))}
        open_steps = [no for no, step in steps.items() if step is None or not step.state.final]
        if open_steps:
            raise Violation(f"invariant 6: {run_id} is {row.state} with steps {open_steps} open")
        states = {no: step.state for no, step in steps.items() if step is not None}
        if row.state is RunState.SUCCEEDED:
            if StepState.SUCCEEDED not in states.values():
                raise Violation(f"invariant 6: {run_id} succeeded and no step did")
            stood_in = any(
                plan.steps[no].fallback_of is not None for no, s in states.items() if s is StepState.SUCCEEDED
            )
            tolerated = any(step is not None and step.tolerated for step in steps.values())
            if (StepState.FAILED in states.values() or stood_in or tolerated) and not row.partial:
                raise Violation(f"invariant 10: {run_id} is partial and does not say so")
        for no, state in states.items():
            self._check_step(run_id, plan.steps[no], state)

    def _check_step(self, run_id: str, step: CompiledStep, state: StepState) -> None:
        row = self._step(run_id, step.no)
        count = (row.count if row is not None else 0) or 0
        found = Counter(
            node.state
            for item in range(count)
            if (node := self._sim.journal.nodes.get((run_id, step.no, item))) is not None
        )
        told = self._sim.journal.finished[run_id, step.no]
        ended = (told.succeeded, told.failed, told.skipped)
        open_nodes = count - sum(ended) - (found[NodeState.CANCELLED] if step.sampled else 0)
        if ended != (found[NodeState.SUCCEEDED], found[NodeState.FAILED], found[NodeState.SKIPPED]):
            raise Violation(f"{run_id} {step.path} counts {ended} and its nodes are {dict(found)}")
        if state is StepState.SUCCEEDED and open_nodes:
            raise Violation(f"{run_id} {step.path} succeeded with {open_nodes} nodes open")
        sampled = step.sampled and told.tolerated and told.reason.startswith("enough: ")
        if state is StepState.SUCCEEDED and told.failed and step.on_failure is OnFailure.FAIL and not sampled:
            raise Violation(f"{run_id} {step.path} succeeded with {told.failed} failed nodes")

    def _check_attempts(self, run_id: str) -> None:
        """Invariant 9: what is said of an outcome is true."""
        for (run, no, item), rows in self._sim.journal.attempts.items():
            if run != run_id:
                continue
            node = self._sim.journal.nodes.get((run, no, item))
            last = rows[max(rows)]
            if node is not None and last.outcome is None:
                raise Violation(f"{(run, no, item)} ended as {node.state} and attempt {last.attempt} did not")
            if node is not None and node.reason.startswith("outcome unknown") and last.begun_at is None:
                raise Violation(f"invariant 9: {(run, no, item)} never began and was not sent again")
            again = self.messages[run, no, item] > len(rows)  # an earlier delivery died, with all that knew of it
            for number, row in rows.items():
                begun = ((run, no, item), number) in self._begun_attempts
                if row.outcome is Outcome.NOT_BEGUN and begun and (row.begun_at is not None or not again):
                    raise Violation(f"invariant 9: attempt {number} of {(run, no, item)} is said never to have begun")

    def _check_messages(self) -> None:
        trouble = sum(self._sim.faults.happened.values()) + self._sim.journal.epoch - 1
        for key, sent in self.messages.items():
            attempts = len(self._sim.journal.attempts[_node(key)])
            if sent > 4 + 2 * attempts + 2 * trouble:  # a worker may hold a message back behind long bodies
                raise Violation(f"{key} was published {sent} times in {attempts} attempts")

    def _check_losses(self) -> None:
        """A worker that lives and can be reached is never taken for dead."""
        sim = self._sim
        if HARM_WORKERS & sim.faults.happened.keys():
            return
        if sim.redis.losses:  # a report may have been lost with it
            return
        for key, rows in sim.journal.attempts.items():
            if key[0] in sim.journal.permits_gone_at:
                continue  # a worker whose permit is gone says nothing
            if HARM_SCHEDULERS & sim.faults.happened.keys() and self._is_external(key):
                continue  # its mark was stored and its grant died with the scheduler: it may have begun
            if "lost_request" in sim.faults.happened and self.messages[key] > len(rows):
                continue  # published twice, as the first seemed to have failed: what ran under it was told to stop
            if any(row.outcome is Outcome.LOST for row in rows.values()):
                raise Violation(f"{key} is recorded as lost, and no worker was harmed")

    def _is_external(self, key: NodeKey) -> bool:
        return self._sim.plan_of(key[0]).steps[key[1]].effects == "external"

    # --- against the undisturbed world ------------------------------------------------------------

    def _compare(self, run_id: str, expected: Simulation) -> None:
        other = expected.journal.runs[run_id]
        if any(early.is_early(self._sim.plan_of(each)) for each in self._tree(self.line(run_id)[-1])):
            return  # what is stopped depends on what was faster
        tree = self._tree(self.line(run_id)[-1])
        if any(world.spending.was_short(each) for world in (self._sim, expected) for each in tree):
            return  # and so does who is paid first
        tainted = self._tainted(run_id)
        lines = [self._sim.journal.runs[each] for each in self.line(run_id)]
        cut_short = any(each.state is RunState.CANCELLED or each.reason == "deadline passed" for each in lines)
        self._sim.compared += not tainted and not cut_short
        if not tainted and not cut_short:
            mine, theirs = self._story(run_id), expected.audit._story(run_id)
            if mine != theirs:
                different = [
                    f"{key}: {theirs.get(key)} -> {mine.get(key)}" for key in theirs if mine.get(key) != theirs[key]
                ]
                raise Violation(f"{run_id} came out otherwise than undisturbed ({other.state}): {different[:5]}")
        elif not tainted:
            self._compare_nodes(run_id, expected)

    def _compare_nodes(self, run_id: str, expected: Simulation) -> None:
        theirs = expected.audit._story(run_id)
        for name, told in self._story(run_id).items():
            if name.startswith("node") and told[0] is NodeState.SUCCEEDED and told != theirs.get(name):
                raise Violation(f"{run_id} {name} came out as {told} instead of {theirs.get(name)}")

    def _tainted(self, run_id: str) -> bool:
        """Whether the record says that a result is not known, or trouble used up a node's tries, here or below."""
        return any(self._is_tainted(each) for each in self._tree(run_id))

    def _is_tainted(self, run_id: str) -> bool:
        bad = defaultdict(bool)
        for (run, no, item), rows in self._sim.journal.attempts.items():
            fatal = (Outcome.LOST, Outcome.INFRASTRUCTURE)
            bad[run, no, item] = run == run_id and any(row.outcome in fatal for row in rows.values())
        return any(
            node.state is NodeState.FAILED and (bad[key] or any(word in node.reason for word in _UNKNOWN))
            for key, node in self._sim.journal.nodes.items()
            if key[0] == run_id
        )

    def _story(self, run_id: str) -> dict[str, Any]:
        journal = self._sim.journal
        row = journal.runs[run_id]
        story: dict[str, Any] = {"run": (row.state, row.reason, row.partial)}
        for no in range(len(self._sim.plan_of(run_id).steps)):
            step = journal.steps[run_id, no]
            # A step that was sent ahead in vain keeps the count it was given then.
            count = None if step.state is StepState.SKIPPED else step.count
            story[f"step {no}"] = (step.state, count, step.tolerated)
        for (run, no, item), node in journal.nodes.items():
            if run == run_id:
                story[f"node {no}:{item}"] = (node.state, self._plain(node.result))
        story["outputs"] = self._plain(journal.outputs.get(run_id))
        return story

    def _plain(self, text: str | None) -> Any:
        if text is None:
            return None
        value = orjson.loads(text)
        return bodies.without_executions(self._opened(value))

    def _opened(self, value: Any) -> Any:
        data = unpack(value, self._sim.artefacts)
        return self._opened(data) if isinstance(value, dict) and value.get("value") is True else data


def _node(key: NodeKey) -> NodeKey:
    """The node of an attempt, which may go by the ``shadow`` of its item."""
    return key[0], key[1], real_item(key[2])
