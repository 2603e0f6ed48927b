"""`peers`: the same graphs on other engines, each at its best with two slots on this machine.

A graph is given to all in one form; what cannot say which node waits for which (Celery's groups) puts a
barrier after each level. Definitions that an engine keeps are made in the warm-up.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

from engine.api.plans import Prepared
from tests.benchmarks.bars import Bar
from tests.benchmarks.figures import Figure, figure
from tests.benchmarks.heft import read_trace
from tests.benchmarks.measuring import LoadMeter, alternate, say
from tests.benchmarks.options import Options
from tests.benchmarks.ours import Ours, check, plan_of, started_redis
from tests.benchmarks.peer import CELERY, Peer, PeerProcess, Skipped
from tests.benchmarks.shapes import layer_parents

Node = tuple[str, Any, list[int]]
PEERS = {
    "celery": CELERY,
    "dbos": Peer("dbos", ("dbos==3.4.*",), "dbos_program.py"),
    "prefect": Peer("prefect", ("prefect==3.8.*", "fastapi<0.140"), "prefect_program.py"),
    "luigi": Peer("luigi", ("luigi==3.8.*",), "luigi_program.py"),
    "dagster": Peer("dagster", ("dagster==1.13.*",), "dagster_program.py"),
    "langgraph": Peer("langgraph", ("langgraph==1.2.*", "langgraph-checkpoint-sqlite"), "langgraph_program.py"),
    "dask": Peer("dask", ("distributed==2026.8.*",), "dask_program.py"),
    "ray": Peer("ray", ("ray==2.60.*",), "ray_program.py"),
}
REFERENCES = frozenset({"langgraph", "dask", "ray"})
"""In the caller's process, or not durable: shown, and no bar."""
_SLOW_S = 30.0
"""A peer whose warm-up takes longer gets one counted turn instead of all."""
_PATIENCE_S = 300.0
"""A peer that takes longer for one turn is given up, with a line that says so."""
_TRACE_S = 4.0
"""All bodies of a trace together. Longer ones say no more of what a node costs, and 96 turns take their time."""


def peers(options: Options) -> Iterator[Figure]:
    """Chains, fans, layers and real traces on Prefect, DBOS, Dagster, Luigi, Celery; LangGraph, Dask, Ray."""
    for shape, nodes in _shapes(options):
        for name in PEERS:
            if options.wants(name):
                try:
                    yield _compare(options, shape, nodes, name)
                except (Skipped, RuntimeError) as error:
                    say(f"peers: {name}, {shape}: skipped: {str(error)[-1500:]}")
        if options.peers == ():
            yield _compare(options, shape, nodes, None)


def _compare(options: Options, shape: str, nodes: list[Node], name: str | None) -> Figure:
    load, total = LoadMeter(), sum(_result(kind, argument) for kind, argument, _ in nodes)
    with ExitStack() as stack:
        ours = stack.enter_context(Ours())
        sides: dict[str, Callable[[], float]] = {"ours": _our_side(ours, shape, nodes, total)}
        version = ""
        if name is not None:
            environment = {}
            if name == "celery":
                server = started_redis()
                stack.callback(server.close)
                environment = {"BENCH_BROKER": f"redis+socket://{server.socket}?virtual_host=0"}
            process = stack.enter_context(PeerProcess(PEERS[name], environment=environment, patience_s=_PATIENCE_S))
            version = process.version()
            sides[name] = lambda: process.seconds("graph", nodes=nodes, total=total)
        repeats = options.repeats
        warm = alternate(f"peers {shape} warm-up", 1, sides, warm=False)
        if name is not None and warm[name][0] > _SLOW_S:
            repeats = 1
        taken = alternate(f"peers {shape}", repeats, sides, warm=False)
    per_node = [seconds / len(nodes) * 1000 for seconds in taken["ours"]]
    if name is None:
        return figure("peers", "ms_per_node", "ms", per_node, load.read(), case=shape)
    theirs = sorted(seconds / len(nodes) * 1000 for seconds in taken[name])[repeats // 2]
    return figure(
        "peers", "ms_per_node", "ms", per_node, load.read(), case=shape, peer=f"{name} {version}", peer_value=theirs,
        peer_unit="ms", bar=None if name in REFERENCES else Bar(theirs, None, at_most=True),
    )  # fmt: skip


def _our_side(ours: Ours, shape: str, nodes: list[Node], total: float) -> Callable[[], float]:
    plan, inputs, counts = _plan(ours, shape, nodes)

    def side() -> float:
        seconds, run_id, _ = ours.run(plan, **inputs)
        results = [ours.results(run_id, step, count) for step, count in enumerate(counts)]
        check(abs(sum(map(sum, results)) - total) < 1e-6, "the sum of all nodes' results")
        return seconds

    return side


def _plan(ours: Ours, shape: str, nodes: list[Node]) -> tuple[Prepared, dict[str, Any], list[int]]:
    """The graph as a plan, its inputs, and how many nodes each step has; a fan is a ``for_each``."""
    if shape.startswith("wide-"):
        steps = {"first": {"task": "bench.one"}, **_fan_steps()}
        count = len(nodes) - 2
        return ours.prepare(plan_of(steps, "wide", ("items",))), {"items": [1] * count}, [1, count, 1]
    named = {
        f"n{number}": {**_body(kind, argument), "after": [f"n{parent}" for parent in parents]}
        for number, (kind, argument, parents) in enumerate(nodes)
    }
    return ours.prepare(plan_of(named, "graph")), {}, [1] * len(nodes)


def _fan_steps() -> dict[str, Any]:
    many = {"task": "bench.one", "for_each": "{{ inputs.items }}", "after": ["first"]}
    return {"many": many, "last": {"task": "bench.one", "after": ["many"]}}


def _body(kind: str, argument: Any) -> dict[str, Any]:
    if kind == "fibonacci":
        return {"task": "bench.fibonacci", "with": {"n": argument}}
    return {"task": "bench.sleep", "with": {"seconds": argument}} if kind == "sleep" else {"task": "bench.one"}


def _result(kind: str, argument: Any) -> float:
    return {"fibonacci": 55.0, "sleep": argument}.get(kind, 1.0)


def _shapes(options: Options) -> Iterator[tuple[str, list[Node]]]:
    made: dict[str, Callable[[], list[Node]]] = {
        "chain-40": lambda: [("fibonacci", 10, [number - 1] if number else []) for number in range(40)],
        "wide-1000": lambda: _wide(options.size(1000)),
        "layers-10x100": lambda: _layers(10, 100),
        "airrflow": lambda: _trace(options, "airrflow-dirt02-001"),
        "epigenomics": lambda: _trace(options, "epigenomics-chameleon-ilmn-4seq-50k-001"),
    }
    for name, nodes in made.items():
        if options.shapes is None or name in options.shapes:
            try:
                yield name, nodes()
            except Skipped as reason:
                say(f"peers: {name}: skipped: {reason}")


def _wide(count: int) -> list[Node]:
    middle: list[Node] = [("one", None, [0]) for _ in range(count)]
    return [("one", None, []), *middle, ("one", None, list(range(1, count + 1)))]


def _layers(layers: int, width: int) -> list[Node]:
    return [
        ("one", None, [(layer - 1) * width + each for each in layer_parents(position, width)] if layer else [])
        for layer in range(layers)
        for position in range(width)
    ]


def _trace(options: Options, name: str) -> list[Node]:
    trace = read_trace(options.folder("wfinstances") / f"{name}.json").scaled(_TRACE_S)
    number = {task: position for position, task in enumerate(trace.seconds)}
    return [
        ("sleep", seconds, [number[parent] for parent in trace.parents[task]])
        for task, seconds in trace.seconds.items()
    ]
