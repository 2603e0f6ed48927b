"""What a bench is told on the command line."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from tests.benchmarks.peer import Skipped

_ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True, slots=True)
class Options:
    """``nodes`` of ``None`` means the bench's own number; ``files`` are those of ``trace``.

    ``peers`` names the peers to run; ``None`` means all of the bench, an empty tuple none.
    """

    nodes: int | None = None
    repeats: int = 5
    data: Path | None = None
    files: tuple[Path, ...] = ()
    peers: tuple[str, ...] | None = None
    shapes: tuple[str, ...] | None = None

    def size(self, otherwise: int) -> int:
        """Nodes to run."""
        return self.nodes if self.nodes is not None else otherwise

    def wants(self, peer: str) -> bool:
        """Whether ``peer`` is to be run."""
        return self.peers is None or peer in self.peers

    def folder(self, name: str) -> Path:
        """A folder of the recorded data; ``Skipped`` where it is absent."""
        given = self.data or Path(os.environ.get("FLYWHEEL_BENCH_DATA") or _ROOT.parent / "shared" / "data")
        folder = given / name
        if not folder.is_dir():
            raise Skipped(f"no folder {folder}: name the one that holds {name}/ with --data or FLYWHEEL_BENCH_DATA")
        return folder
