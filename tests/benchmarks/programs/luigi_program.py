"""Luigi: two worker processes, local scheduler, a file a node as its durable result."""

from __future__ import annotations

import json
import logging
import uuid
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

import luigi
from answering import serve
from graphs import Node, timed, work

logging.getLogger("luigi").setLevel(logging.ERROR)
logging.getLogger("luigi-interface").setLevel(logging.ERROR)
graph: list[Node] = []


class Body(luigi.Task):
    folder = luigi.Parameter()
    number = luigi.IntParameter()

    def requires(self) -> list[luigi.Task]:
        return [Body(folder=self.folder, number=parent) for parent in graph[self.number][2]]

    def output(self) -> luigi.LocalTarget:
        return luigi.LocalTarget(f"{self.folder}/{self.number}")

    def run(self) -> None:
        kind, argument, _ = graph[self.number]
        with self.output().open("w") as file:
            file.write(json.dumps(work(kind, argument)))


def run(nodes: list[Node]) -> Sequence[float]:
    graph[:] = nodes
    folder = Path(uuid.uuid4().hex)
    folder.mkdir()
    inner = {parent for _, _, parents in nodes for parent in parents}
    ends = [Body(folder=str(folder), number=number) for number in range(len(nodes)) if number not in inner]
    if not luigi.build(ends, workers=2, local_scheduler=True, log_level="ERROR", no_lock=True):
        raise RuntimeError("luigi.build failed")
    return [json.loads((folder / str(number)).read_text()) for number in range(len(nodes))]


if __name__ == "__main__":
    serve({"graph": timed(run), "version": lambda: {"version": version("luigi")}})
