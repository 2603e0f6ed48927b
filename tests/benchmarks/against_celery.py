"""`queue`, `chain`, `join`, `hop`: the same work on plain Celery, each side with a Redis of its own.

What both do within the time: build what is to run, send it, run it, and know that it is done. Ours also
checks and compiles the plan and stores each node's result in SQL. Results are read back and checked.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from statistics import median

from engine.plan.model import Plan
from tests.benchmarks.figures import Figure, figure
from tests.benchmarks.measuring import LoadMeter, alternate
from tests.benchmarks.options import Options
from tests.benchmarks.ours import Ours, check, plan_of, started_redis
from tests.benchmarks.peer import CELERY, PeerProcess
from tests.benchmarks.shapes import chain, fan

_CHUNK = 100
_HOPS = 200


@contextmanager
def _celery(options: Options) -> Iterator[PeerProcess | None]:
    """Celery's driver and workers; ``None`` if only our own side is wanted."""
    if not options.wants("celery"):
        yield None
        return
    server = started_redis()
    try:
        broker = f"redis+socket://{server.socket}?virtual_host=0"
        with PeerProcess(CELERY, environment={"BENCH_BROKER": broker}) as celery:
            yield celery
    finally:
        server.close()


def queue(options: Options) -> Iterator[Figure]:
    """Independent no-op nodes, end to end with result rows."""
    nodes, load = options.size(10_000), LoadMeter()
    plan, items = fan("bench.nothing", None), list(range(nodes))
    with _celery(options) as celery, Ours() as ours:

        def our_side() -> float:
            seconds, run_id, _ = ours.run(plan, items=items)
            check(ours.results(run_id, 0, nodes) == items, "results of the nodes")
            return seconds

        sides = {"ours": our_side}
        if celery is not None:
            sides["celery prefetch 1"] = lambda: celery.seconds("queue", nodes=nodes, queue="one")
            sides["celery prefetch 64"] = lambda: celery.seconds("queue", nodes=nodes, queue="many")
            for name, prefetch in (("one", 1), ("many", 64)):
                sides[f"celery chunks, prefetch {prefetch}"] = partial(
                    celery.seconds, "chunks", nodes=nodes, size=_CHUNK, queue=name
                )
        taken = alternate("queue", options.repeats, sides)
        yield _ours("queue", "nodes_per_s", "nodes/s", [nodes / seconds for seconds in taken["ours"]], load)
        if celery is None:
            return
        version = f"Celery {celery.version()}"
        for metric, what in (("ratio", "celery prefetch"), ("ratio_chunks", "celery chunks")):
            best = min((name for name in taken if name.startswith(what)), key=lambda name: median(taken[name]))
            rates = [nodes / seconds for seconds in taken[best]]
            yield figure(
                "queue", metric, "×", _ratios(taken[best], taken["ours"]), load.read(),
                peer=f"{version}, {best.removeprefix('celery ')}", peer_value=median(rates), peer_unit="nodes/s",
            )  # fmt: skip


def chained(options: Options) -> Iterator[Figure]:
    """Nodes one after the other, each adding one to what the one before gave."""
    nodes = options.size(200)
    yield from _both(options, "chain", nodes, chain("bench.add", nodes), {}, nodes)


def joined(options: Options) -> Iterator[Figure]:
    """Many nodes whose results one node sums up."""
    nodes = options.size(2000)
    yield from _both(
        options, "join", nodes, fan("bench.nothing", "bench.total"), {"items": list(range(nodes))}, sum(range(nodes))
    )


def _both(
    options: Options, bench: str, nodes: int, plan: Plan, inputs: dict[str, list[int]], expected: int
) -> Iterator[Figure]:
    load = LoadMeter()
    with _celery(options) as celery, Ours() as ours:

        def our_side() -> float:
            seconds, _, outputs = ours.run(plan, **inputs)
            check(outputs == expected, f"{outputs!r} is not {expected}")
            return seconds

        sides = {"ours": our_side}
        if celery is not None:
            sides["celery"] = lambda: celery.seconds(bench, nodes=nodes)
        taken = alternate(bench, options.repeats, sides)
        yield _ours(bench, "seconds", "s", taken["ours"], load)
        if celery is not None:
            yield figure(
                bench, "ratio", "×", _ratios(taken["celery"], taken["ours"]), load.read(),
                peer=f"Celery {celery.version()}", peer_value=median(taken["celery"]),
            )  # fmt: skip


def hop(options: Options) -> Iterator[Figure]:
    """A run of one node, from submission until its output is read; the plan is compiled before."""
    hops, load = options.size(_HOPS), LoadMeter()
    with _celery(options) as celery, Ours() as ours:
        steps = {"only": {"task": "bench.add", "with": {"value": 1}}}
        plan = ours.prepare(plan_of(steps, "hop", outputs="{{ steps.only.output }}"))

        def our_side() -> float:
            seconds, _, output = ours.run(plan)
            check(output == 2, "the output")
            return seconds

        def p50(once: partial[float]) -> float:
            taken = []
            for _ in range(hops):
                taken.append(once())
                time.sleep(0.002)  # so that nothing of one is left when the next begins
            return median(taken)

        sides = {"ours": lambda: p50(partial(our_side))}
        if celery is not None:
            sides["celery"] = lambda: p50(partial(celery.seconds, "hop"))
        taken = alternate("hop", options.repeats, sides)
        yield _ours("hop", "p50_ms", "ms", [seconds * 1000 for seconds in taken["ours"]], load)
        if celery is not None:
            yield figure(
                "hop", "ratio", "×", _ratios(taken["ours"], taken["celery"]), load.read(),
                peer=f"Celery {celery.version()}", peer_value=median(taken["celery"]) * 1000, peer_unit="ms",
            )  # fmt: skip


def _ours(bench: str, metric: str, unit: str, runs: list[float], load: LoadMeter) -> Figure:
    return figure(bench, metric, unit, runs, load.read())


def _ratios(over: list[float], under: list[float]) -> list[float]:
    """Turn by turn, so that what disturbed one turn disturbs one ratio."""
    return [above / below for above, below in zip(over, under, strict=True)]
