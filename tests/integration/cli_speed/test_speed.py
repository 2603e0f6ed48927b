"""How long people wait for the command line: medians of whole processes, with 10,000 runs stored.

Soak: a busy machine measures itself. CPU seconds are printed beside the wall's.
"""

from __future__ import annotations

import os
import resource
import statistics
import subprocess
import sys
import time
from pathlib import Path

import pytest
from sqlalchemy import insert

from engine.ids import new_run_id
from engine.store.columns import RUN
from engine.store.runs import RunStore
from tests.contract.samples import new_run

RUNS = 10_000
TIMES = 9
FLYWHEEL = Path(sys.executable).with_name("flywheel")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder whose installation has 10,000 runs."""
    made = tmp_path_factory.mktemp("speed")
    (made / ".flywheel").mkdir()
    store = RunStore(f"sqlite:///{made}/.flywheel/flywheel.db")
    first, _ = store.submit(new_run())
    with store.database.writing("copy a run") as connection:
        row = dict(connection.execute(RUN.select().where(RUN.c.id == first)).mappings().one())
        many = [row | {"id": new_run_id(1.7e9 + number), "idempotency_key": None} for number in range(RUNS)]
        connection.execute(insert(RUN), many)
    store.close()
    return made


@pytest.mark.soak
@pytest.mark.parametrize(
    ("arguments", "limit_s"),
    [
        (("--help",), 0.15),
        (("runs", "list"), 0.5),
        (("runs", "show", "@last"), 0.6),
        (("plan", "list"), 0.6),
        (("submit", "dependency-audit"), 1.2),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_a_command_answers_at_once(folder: Path, arguments: tuple[str, ...], limit_s: float) -> None:
    walls, cpus = [], []
    bare = {name: value for name, value in os.environ.items() if not name.startswith("FLYWHEEL_")}
    for _ in range(TIMES):
        began, before = time.monotonic(), resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run([FLYWHEEL, *arguments], cwd=folder, env=bare, capture_output=True, check=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        walls.append(time.monotonic() - began)
        cpus.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    wall, cpu = statistics.median(walls), statistics.median(cpus)
    print(f"\nflywheel {' '.join(arguments)}: median {wall * 1000:.0f} ms, {cpu * 1000:.0f} ms of CPU, of {TIMES}")
    assert wall <= limit_s
