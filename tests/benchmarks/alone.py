"""`light`, `scale`, `fair`: what the engine costs by itself, held against fixed figures."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack
from statistics import median
from typing import Any

from engine.plan.model import Plan
from tests.benchmarks.figures import Figure, figure
from tests.benchmarks.measuring import LoadMeter, alternate, say
from tests.benchmarks.options import Options
from tests.benchmarks.ours import Ours, check, plan_of
from tests.benchmarks.shapes import layered_steps

_FAIR_ALONE = 5
_SMALL = 10


def light(options: Options) -> Iterator[Figure]:
    """A chain of 40 light steps, fibonacci(10) each, as in Windmill's published comparison."""
    nodes, load = options.size(40), LoadMeter()
    steps: dict[str, Any] = {
        f"s{number}": {
            "task": "bench.fibonacci",
            "with": {"n": 10, "after": f"{{{{ steps.s{number - 1}.output }}}}" if number else None},
        }
        for number in range(nodes)
    }
    with Ours() as ours:
        plan = ours.prepare(plan_of(steps, "light", outputs=f"{{{{ steps.s{nodes - 1}.output }}}}"))

        def our_side() -> float:
            seconds, run_id, output = ours.run(plan)
            check(output == 55, "fibonacci(10)")
            check([ours.results(run_id, step, 1) for step in range(nodes)] == [[55]] * nodes, "a step's result")
            return seconds

        taken = alternate("light", options.repeats, {"ours": our_side})["ours"]
        per_step = [seconds / nodes * 1000 for seconds in taken]
        yield figure("light", "ms_per_step", "ms", per_step, load.read(), peer="Hatchet (published)", peer_value=31.0,
                     peer_unit="ms", note="the plan is compiled before, as a deployed flow is")  # fmt: skip


def scale(options: Options) -> Iterator[Figure]:
    """The cost of a node in a layered graph of 100,000, three parents each, over the same in one of 1,000."""
    nodes, load = options.size(100_000), LoadMeter()
    few = min(1000, max(1, nodes // 10))
    with Ours() as ours:
        data, compile_s, plan = _layered(nodes), [], None
        for turn in range(options.repeats):
            started = time.perf_counter()
            plan = ours.prepare(plan_of(data, f"layered-{nodes}"))
            compile_s.append(time.perf_counter() - started)
            say(f"  scale {turn + 1}/{options.repeats}  compile: {compile_s[-1]:.4g}")
        assert plan is not None
        yield figure("scale", "compile_s", "s", compile_s, load.read(), note="from plain data to a compiled plan")
        del data
        small = ours.prepare(plan_of(_layered(few), f"layered-{few}"))

        def side(prepared: Any, count: int) -> float:
            seconds, run_id, _ = ours.run(prepared)
            [*ends] = (step.succeeded for step in ours.client.store.steps(run_id))
            check(ends == [1] * count, "a step that did not succeed")
            return seconds / count * 1e6

        taken = alternate(
            "scale", options.repeats, {"few": lambda: side(small, few), "many": lambda: side(plan, nodes)}
        )
        ratios = [many / less for many, less in zip(taken["many"], taken["few"], strict=True)]
        yield figure("scale", "us_per_node", "µs", taken["many"], load.read(), case=f"{nodes:,}")
        yield figure("scale", "us_per_node", "µs", taken["few"], load.read(), case=f"{few:,}")
        yield figure("scale", "per_node_ratio", "×", ratios, load.read())
        yield figure("scale", "scheduler_rss_mb", "MB", [ours.scheduler_peak_mb()], load.read())


def _layered(nodes: int) -> dict[str, Any]:
    """About as many layers as a tenth of their width."""
    width = max(1, round((nodes * 10) ** 0.5))
    width = next(each for each in range(width, 0, -1) if nodes % each == 0)
    return layered_steps(nodes // width, width, {"task": "bench.nothing"})


def fair(options: Options) -> Iterator[Figure]:
    """A run of ten nodes behind one of 100,000: its latency over that of the same run alone."""
    nodes = options.size(100_000)
    for case, task, arguments in (
        ("no-op", "bench.nothing", {"value": "{{ item }}"}),
        ("10 ms", "bench.sleep", {"seconds": 0.01}),
    ):
        load = LoadMeter()
        with Ours() as ours:
            big, small = _many(nodes, task, arguments), _many(_SMALL, task, arguments)
            alone, behind = _fair(ours, big, small, nodes, options.repeats)
        ratios = [each / median(alone) for each in behind]
        for metric, runs in (("alone_ms", alone), ("behind_ms", behind)):
            yield figure("fair", metric, "ms", [each * 1000 for each in runs], load.read(), case=case)
        yield figure("fair", "ratio", "×", ratios, load.read(), case=case)


def _many(nodes: int, task: str, arguments: dict[str, Any]) -> tuple[Plan, dict[str, Any]]:
    step = {"task": task, "for_each": "{{ inputs.items }}", "with": arguments}
    return plan_of({"many": step}, f"fair-{nodes}", ("items",)), {"items": list(range(nodes))}


def _fair(
    ours: Ours, big: tuple[Plan, dict[str, Any]], small: tuple[Plan, dict[str, Any]], nodes: int, repeats: int
) -> tuple[list[float], list[float]]:
    """Seconds of the small run alone, and behind the big one."""

    def once(turn: str) -> float:
        seconds, run_id, _ = ours.run(small[0], **small[1])
        check(len(ours.results(run_id, 0, _SMALL)) == _SMALL, "results of the small run")
        say(f"  fair {turn}: {seconds:.4g}")
        return seconds

    once("warm-up")
    alone = [once("alone") for _ in range(max(_FAIR_ALONE, repeats))]
    behind: list[float] = []
    with ExitStack() as running:
        run_id = ""
        while len(behind) < repeats:
            if not run_id or ours.client.run(run_id).state.final:
                run_id = ours.client.submit(big[0], big[1])
                running.callback(_cancel, ours, run_id)
                ours.installation.wait(lambda run_id=run_id: _done(ours, run_id) > nodes // 1000, 60)
            seconds = once("behind")
            if ours.client.run(run_id).state.final:  # it did not wait for anything
                say("  fair: the big run had ended; once more")
                continue
            behind.append(seconds)
    return alone, behind


def _done(ours: Ours, run_id: str) -> int:
    return sum(step.done for step in ours.client.store.progress(run_id).steps)


def _cancel(ours: Ours, run_id: str) -> None:
    if not ours.client.run(run_id).state.final:
        ours.client.cancel(run_id)
