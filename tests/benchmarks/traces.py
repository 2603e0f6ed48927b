"""`trace`: real workflows with their runtimes, against a schedule that costs nothing and knows all."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from engine.api.plans import Prepared
from engine.learning.knowledge import FEW
from engine.plan.model import Plan
from tests.benchmarks.figures import Figure, figure
from tests.benchmarks.heft import Trace, heft_s, read_trace
from tests.benchmarks.measuring import LoadMeter, alternate, say
from tests.benchmarks.options import Options
from tests.benchmarks.ours import Ours, check, plan_of

SLOTS = 2
WORK_S = 20.0
"""Seconds of all bodies together, so that half of it, the least that two slots need, is ten."""
_LEARNING = FEW - 1
"""Runs before the one that warms up: after it each step's seconds are known, as the schedule knows them."""


def trace(options: Options) -> Iterator[Figure]:
    """Real traces, scaled to ten seconds on two slots: makespan over a free HEFT schedule of the same."""
    files = options.files or tuple(sorted(options.folder("wfinstances").glob("*.json")))
    work_s = WORK_S if options.nodes is None else WORK_S * options.nodes / 1000
    for path in files:
        found = read_trace(path).scaled(work_s)
        plan, schedule_s, load = plan_of_trace(found), heft_s(found, SLOTS), LoadMeter()
        say(f"  {found.name}: {len(found.seconds)} nodes, HEFT {schedule_s:.2f} s, bound {found.bound_s(SLOTS):.2f} s")
        with Ours() as ours:
            prepared = ours.prepare(plan)

            def our_side(ours: Ours = ours, plan: Prepared = prepared, found: Trace = found) -> float:
                seconds, run_id, _ = ours.run(plan)
                slept = [ours.results(run_id, step, 1)[0] for step in range(len(found.seconds))]
                check(abs(sum(slept) - sum(found.seconds.values())) < 1e-6, "seconds of the bodies")
                return seconds

            for _ in range(_LEARNING):
                our_side()
            taken = alternate("trace", options.repeats, {found.name: our_side})[found.name]
        yield figure(
            "trace", "makespan_over_schedule", "×", [seconds / schedule_s for seconds in taken], load.read(),
            case=found.name, peer="HEFT without any cost", peer_value=schedule_s,
            note=f"{len(found.seconds)} nodes; bound {found.bound_s(SLOTS):.2f} s",
        )  # fmt: skip


def plan_of_trace(trace: Trace) -> Plan:
    """A step a task, whose body sleeps as long as the task ran."""
    numbers = {task: f"t{number}" for number, task in enumerate(trace.seconds)}
    steps: dict[str, Any] = {
        numbers[task]: {
            "task": "bench.sleep",
            "with": {"seconds": seconds},
            "after": [numbers[parent] for parent in trace.parents[task]],
        }
        for task, seconds in trace.seconds.items()
    }
    return plan_of(steps, "trace")
