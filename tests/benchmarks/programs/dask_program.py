"""Dask distributed: a scheduler and two worker processes of one thread each; nothing is durable."""

from __future__ import annotations

from collections.abc import Sequence

import distributed
from answering import serve
from graphs import Node, timed, work


def _node(kind: str, argument: object, _: list[float]) -> float:
    return work(kind, argument)


if __name__ == "__main__":
    cluster = distributed.LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None)
    client = distributed.Client(cluster)

    def run(nodes: list[Node]) -> Sequence[float]:
        futures: list[distributed.Future] = []
        for kind, argument, parents in nodes:
            futures.append(client.submit(_node, kind, argument, [futures[each] for each in parents], pure=False))
        return client.gather(futures)

    serve({"graph": timed(run), "version": lambda: {"version": distributed.__version__}})
    client.close()
    cluster.close()
