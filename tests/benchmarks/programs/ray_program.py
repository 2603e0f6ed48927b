"""Ray: remote functions on two worker processes; nothing is durable."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import ray
from answering import serve
from graphs import Node, timed

if __name__ == "__main__":
    here = str(Path(__file__).parent)
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, runtime_env={"env_vars": {"PYTHONPATH": here}})

    @ray.remote(num_cpus=1)
    def node(kind: str, argument: object, *_: float) -> float:
        from graphs import work  # there, not here: what is sent along is this function alone

        return work(kind, argument)

    def run(nodes: list[Node]) -> Sequence[float]:
        references: list[ray.ObjectRef] = []
        for kind, argument, parents in nodes:
            references.append(node.remote(kind, argument, *(references[each] for each in parents)))
        return ray.get(references)

    serve({"graph": timed(run), "version": lambda: {"version": ray.__version__}})
    ray.shutdown()
