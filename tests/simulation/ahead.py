"""Reading ahead: plans in which it can be done, how a worker does it, and what must hold of it.

It may be begun once, for a run whose permits are there, once what says what to read is recorded and nothing
above that is open changes anything (invariants 3, 4 and 8). It takes no slot that certain work wants, is used
by one body at most, and each is told as used or in vain once.
"""

from __future__ import annotations

import random
import zlib
from collections import Counter
from collections.abc import Generator
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import orjson

from engine.artefacts.values import unpack
from engine.dag.compiled import CompiledPlan, CompiledStep, Prefetch
from engine.errors import Unavailable
from engine.plan.templates import render
from engine.scheduling.records import AttemptKind, Decision, Record
from engine.scheduling.state import Policy
from engine.wire import Delivery, ErrorInfo, NodeReport, Outcome, Prefetched, Report, ReportKind
from tests.simulation.driver import Violation
from tests.simulation.faults import HARM_WORKERS

if TYPE_CHECKING:
    from tests.simulation.executions import Execution
    from tests.simulation.simulation import Simulation
    from tests.simulation.workers import Slot

QUEUE = "prefetch"
_LIMIT_BYTES = 1000
_LOOK_S = 0.25

StepKey = tuple[str, int]


def reads_ahead(seed: int, policy: Policy) -> tuple[Policy, bool]:
    """The core's numbers, and whether steps can be read ahead for. Drawn apart from all else."""
    chance = random.Random(f"{seed} ahead")
    most = chance.choice((1, 2, 8))
    policy = replace(
        policy, prefetch_max=most, prefetch_max_bytes=most * _LIMIT_BYTES, prefetch_fresh_s=chance.choice((4.0, 60.0))
    )
    return policy, chance.random() < 0.3


def with_prefetches(chance: random.Random, plan: CompiledPlan) -> CompiledPlan:
    """``plan`` with fewer effects, and steps that are read ahead for by all, some or none of their arguments."""
    steps = []
    for step in plan.steps:
        if chance.random() < 0.9:
            step = replace(step, effects="none")
        plain = not step.fanned and step.child is None and step.fallback_of is None
        if plain and chance.random() < 0.8:
            arguments = tuple(sorted(name for name in step.with_ if chance.random() < 0.3))
            reads = tuple(no for no in step.reads if f"a{no}" in arguments)
            pools = () if chance.random() < 0.7 else step.pools
            step = replace(step, prefetch=Prefetch(arguments, reads), pools=pools)
        steps.append(step)
    return replace(plan, steps=tuple(steps))


def read_ahead(slot: Slot, told: Delivery) -> Generator[float, None, Any]:
    """What becomes of a message that only reads, as ``engine/runtime/worker/prefetching.py`` does it."""
    worker, sim = slot.worker, slot.worker.sim
    chance, redis = sim.driver.chance, sim.redis
    try:
        if worker.stopping or not worker.redis(
            lambda: redis.begin_prefetch(told.run_id, told.step_no, told.token, told.epoch, worker.name)
        ):
            return
        marked = sim.driver.now  # its permit may go from here on: it changes nothing, so nobody waits for it
        yield chance.uniform(0.0, 0.06)
        given = render(unpack(told.with_, sim.artefacts), unpack(told.shared, sim.artefacts))
        sim.readings.began(told, given, marked)
        seconds = left_s = chance.choice((0.02, 0.3, 1.5, 6.0))
        while left_s > 0:
            yield min(left_s, _LOOK_S)
            left_s -= _LOOK_S
            if not worker.redis(lambda: redis.wanted_prefetch(told.run_id, told.step_no, told.token)):
                return
        size, why = chance.choice((10, 200, _LIMIT_BYTES + 1)), "OSError" if chance.random() < 0.2 else ""
        why = f"{size} bytes" if size > _LIMIT_BYTES else why
        read = b"" if why else orjson.dumps({"value": _content(told.path, given), "bytes": size, "seconds": seconds})
        node = NodeReport(
            0, 0, Outcome.FAILED if why else Outcome.OK, error=ErrorInfo("Prefetch", why) if why else None,
            prefetched=None if why else Prefetched(size, seconds),
        )  # fmt: skip
        assert told.prefetch is not None
        report = Report(ReportKind.PREFETCHED, told.token, told.run_id, told.step_no, worker.name, (node,))
        fresh_s = told.prefetch.fresh_s - seconds
        worker.redis(lambda: redis.end_prefetch(report, read, max(1.0, fresh_s)))
    except Unavailable:
        return  # the body finds nothing, and reads itself
    finally:
        sim.readings.over(told.token)


def taken(execution: Execution, inputs: Any) -> Generator[float, None, Prefetched | None]:
    """What was read ahead for a body, as ``engine/runtime/worker/ahead.py`` takes it; ``None`` if nothing is there."""
    told, worker, sim = execution.delivery, execution.worker, execution.sim
    ahead = told.ahead
    if ahead is None:
        return None
    over = sim.driver.now + ahead.wait_s
    late = ahead.wait_s <= 0
    asked = sim.driver.now
    try:
        while True:
            give_up = late
            runs, read = worker.redis(
                lambda give_up=give_up: sim.redis.take_prefetched(told.run_id, told.step_no, ahead.token, give_up)
            )
            if not runs:
                break
            yield min(0.2, max(0.001, over - sim.driver.now))
            late = over - sim.driver.now <= 0.01
    except Unavailable:
        return None
    if not read:
        return None
    found = orjson.loads(read)
    sim.readings.took(told, ahead.token, found["value"], inputs)
    return Prefetched(found["bytes"], max(0.0, found["seconds"] - (sim.driver.now - asked)))


def _content(path: str, given: Any) -> int:
    return zlib.crc32(path.encode() + orjson.dumps(given, option=orjson.OPT_SORT_KEYS))


class Readings:
    """Watches what is read ahead in one simulation."""

    def __init__(self, sim: Simulation) -> None:
        self._sim = sim
        self.begun: Counter[str] = Counter()
        self.told: Counter[str] = Counter()
        self._taken: Counter[str] = Counter()
        self._used: set[StepKey] = set()
        self._reading: dict[str, StepKey] = {}
        self._seen: set[tuple[str, int | None, float, str]] = set()
        self._open: dict[tuple[int, str, int], bool] = {}

    # --- what is told -----------------------------------------------------------------------------

    def committed(self, record: Record) -> None:
        """A record is in the journal."""
        if not isinstance(record, Decision) or record.kind != "prefetch":
            return
        key = record.run_id, record.step_no, record.at, record.reason
        if key in self._seen:
            return  # the reply to its commit was lost, so it is committed again
        self._seen.add(key)
        if record.step_no is None:
            self._check_sums(record)
            return
        word, _, why = record.reason.partition(": ")
        self.told[word] += 1
        self.told["lost_or_late"] += why.startswith(("it was lost", "the body did not use it"))
        mine = self._sim.journal.epoch, record.run_id, record.step_no
        if word == "started":
            if mine in self._open:
                raise Violation(f"invariant 8: {mine} is read ahead for twice")
            self._check_start(record)
            self._open[mine] = True
            return
        if not self._open.get(mine):
            raise Violation(f"invariant 8: reading ahead for {mine} is {record.reason}, and is not open")
        self._open[mine] = False
        if word == "used" and mine[1:] not in self._used:
            raise Violation(f"invariant 8: {mine} is said to have used what no body took")

    def _check_start(self, record: Decision) -> None:
        assert record.step_no is not None
        sim, step = self._sim, self._sim.plan_of(record.run_id).steps[record.step_no]
        if step.pools or step.fanned or step.child is not None or step.task in sim.limits.rates:
            raise Violation(f"invariant 8: {step.path} of {record.run_id} is limited and is read ahead for")
        waiting = [node for queue in ("io", "cpu") for node in sim.copies.waiting(queue)]
        if waiting:
            raise Violation(f"invariant 8: {waiting} wait while {step.path} of {record.run_id} is read ahead for")
        if (HARM_WORKERS | {"stop_worker"}) & sim.faults.happened.keys():
            return
        slots = sum(len(worker.slots) for worker in sim.workers)
        rows = [row for rows in sim.journal.attempts.values() for row in rows.values()]
        # A bet that has ended and is not decided yet is out in the journal, and in no slot.
        rows = [row for row in rows if row.kind is not AttemptKind.SPECULATIVE]
        here = sim.workers[0].queues
        out = sum(row.outcome is None and row.dispatched_at is not None and row.queue in here for row in rows)
        # Those that the scheduler wants: it calls others off, and knows of none that its predecessor started.
        reading = [step for step in self._reading.values() if self._open.get((sim.journal.epoch, *step))]
        if out + len(reading) + 2 > slots:
            raise Violation(f"invariant 8: read ahead with {out} attempts, {reading} out on {slots} slots")

    def _check_sums(self, record: Decision) -> None:
        """What a run's end tells is what was told one by one, as far as one scheduler did it."""
        epoch, figures = self._sim.journal.epoch, record.figures
        mine = [key for key in self._open if key[:2] == (epoch, record.run_id)]
        if figures["started"] != len(mine) or any(self._open[key] for key in mine):
            raise Violation(f"invariant 8: {record.run_id} told {figures}, and {len(mine)} were started")
        used = sum(run == record.run_id and reason == "used" for run, _, _, reason in self._seen)
        if figures["used"] > used or not figures["used"] <= figures["fetched"] <= figures["started"]:
            raise Violation(f"invariant 8: {record.run_id} told {figures}, and {used} were used")
        if figures["used_bytes"] > figures["fetched_bytes"]:
            raise Violation(f"invariant 8: {record.run_id} told {figures}")

    # --- what is done -----------------------------------------------------------------------------

    def published(self, told: Delivery) -> None:
        """A message goes out, of a scheduler that may lead no more. Invariant 2: it is in the journal."""
        if not any(key[1:] == (told.run_id, told.step_no) for key in self._open):
            raise Violation(f"invariant 2: {told.path} of {told.run_id} is read ahead for and that is not journaled")

    def began(self, told: Delivery, given: Any, at: float) -> None:
        """The function is at its first line."""
        sim, run_id = self._sim, told.run_id
        key = (run_id, told.step_no, 0)
        sim.driver.note("ahead", f"{told.path} {told.token}")
        self.begun[told.token] += 1
        if self.begun[told.token] > 1:
            raise Violation(f"invariant 8: {key} is read ahead for twice by {told.token}")
        for each in sim.audit.line(run_id):
            gone_at = sim.journal.permits_gone_at.get(each)
            if gone_at is not None and at > gone_at:
                raise Violation(f"invariant 4: {key} is read ahead for at {at:.3f}, permits went at {gone_at:.3f}")
        plan = sim.plan_of(run_id)
        step = plan.steps[told.step_no]
        assert step.prefetch is not None
        open_reads = [no for no in step.prefetch.reads if not self._has_ended(run_id, no)]
        if open_reads:
            raise Violation(f"invariant 3: {key} is read ahead for by the output of {open_reads}, which are open")
        sim.audit.check_inputs(key, given)
        changing = [no for no in self._awaited(plan, step, run_id) if plan.steps[no].effects != "none"]
        if changing:
            raise Violation(f"invariant 8: {key} is read ahead for, and waits for {changing}, which have effects")
        self._reading[told.token] = key[:2]

    def over(self, token: str) -> None:
        """The function ended, or its process did."""
        self._reading.pop(token, None)

    def took(self, told: Delivery, token: str, content: int, inputs: Any) -> None:
        """A body was handed what was read ahead for it."""
        step = self._sim.plan_of(told.run_id).steps[told.step_no]
        assert step.prefetch is not None
        self._taken[token] += 1
        self._used.add((told.run_id, told.step_no))
        if self._taken[token] > 1:
            raise Violation(f"invariant 8: two bodies of {told.path} of {told.run_id} were handed {token}")
        if content != _content(told.path, {name: inputs[name] for name in step.prefetch.arguments}):
            raise Violation(f"{told.path} of {told.run_id} was handed what it would not have read")

    def _has_ended(self, run_id: str, no: int) -> bool:
        row = self._sim.journal.steps.get((run_id, no))
        return row is not None and row.state.final

    def _awaited(self, plan: CompiledPlan, step: CompiledStep, run_id: str) -> set[int]:
        """Open steps that a step waits for, directly or through others, and those that stand in for them."""
        found: set[int] = set()
        todo = [step]
        while todo:
            each = todo.pop()
            instead = () if each is step or each.fallback is None else (each.fallback,)
            new = {no for no in (*each.parents, *instead) if no not in found and not self._has_ended(run_id, no)}
            found |= new
            todo += [plan.steps[no] for no in new]
        return found
