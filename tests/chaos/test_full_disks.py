"""Disks that fill up, a database that somebody locks, and bodies that kill their worker."""

from __future__ import annotations

import sqlite3
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from engine.scheduling.records import NodeState, RunState
from tests.chaos.bodies import LEDGER
from tests.chaos.runs import Disturbed, Ledger, Mixed, steps_plan
from tests.services.stack import Stack, until


@contextmanager
def small_disk(megabytes: int) -> Iterator[Path]:
    """A file system of its own that holds so much; skips where none may be mounted, as in most containers."""
    place = Path(tempfile.mkdtemp(prefix="fwd-", dir="/tmp"))
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={megabytes}m", "tmpfs", place], capture_output=True, text=True
    )
    if mounted.returncode != 0:
        place.rmdir()
        pytest.skip(f"no tmpfs: {mounted.stderr}")
    try:
        yield place
    finally:
        subprocess.run(["umount", "-l", place], check=True)
        place.rmdir()


def fill(place: Path) -> Path:
    """Write until nothing more fits; the file that took the room."""
    filler = place / "filler"
    with filler.open("wb", buffering=0) as file:
        for size in (1 << 16, 1 << 12, 1):
            try:
                while file.write(b"\0" * size):
                    pass
            except OSError:
                continue
    return filler


def test_a_full_disk_for_artefacts_delays_a_run_and_no_more(ledger: Ledger) -> None:
    with (
        small_disk(8) as disk,
        Stack(environment={LEDGER: str(ledger.path)}, artefact_url=f"file://{disk}/artefacts") as stack,
    ):
        (disk / "artefacts").mkdir()
        filler = fill(disk)
        plan = steps_plan(
            "chaos-large",
            {"large": {"task": "chaos.large", "for_each": list(range(8)), "with": {"value": "{{ item }}"}}},
            {"last": "{{ steps.large.output[7].value }}"},
        )
        run = stack.client.submit(plan)
        until(lambda: ledger.begun(run) >= 10, 20, "bodies are tried again while nothing can be stored")
        filler.unlink()
        view = stack.ended(run, 30)
        assert (view.state, view.reason) == (RunState.SUCCEEDED, "complete")
        assert stack.client.outputs(run) == {"last": 7}
        assert stack.client.audit(run) == []


def test_a_full_disk_for_the_database_delays_a_run_and_no_more(ledger: Ledger) -> None:
    with (
        small_disk(6) as disk,
        Stack(environment={LEDGER: str(ledger.path)}, database_url=f"sqlite:///{disk}/flywheel.db") as stack,
    ):
        case = Disturbed(stack, ledger, "full disk under SQLite for a while", twice=0, mixed=Mixed(width=40))
        case.submit().when_begun(8)
        filler = fill(disk)
        until(lambda: "full" in stack.scheduler.said(), 20, "the scheduler meets the full disk")
        assert stack.scheduler.alive
        with pytest.raises(AssertionError):  # the fault's own length
            until(lambda: False, 3.0, "")
        filler.unlink()
        case.check()


def test_a_database_locked_for_ten_seconds_delays_a_run_and_no_more(stack: Stack, ledger: Ledger) -> None:
    case = Disturbed(stack, ledger, "database locked for 10 s", twice=0).submit().when_begun(8)
    path = stack.settings.database_url.removeprefix("sqlite:///")
    with sqlite3.connect(path, isolation_level=None, timeout=10) as intruder:
        intruder.execute("BEGIN EXCLUSIVE")
        with pytest.raises(AssertionError):  # the fault's own length
            until(lambda: False, 10.0, "")
        intruder.execute("ROLLBACK")
    intruder.close()
    case.check()


def test_a_poison_node_fails_and_the_rest_completes(stack: Stack, ledger: Ledger) -> None:
    plan = steps_plan(
        "chaos-poison",
        {
            "bitten": {
                "task": "chaos.poison", "for_each": list(range(10)), "with": {"value": "{{ item }}", "bad": 4},
                "on_failure": "continue",
            },
            "other": {"task": "chaos.idempotent", "for_each": list(range(10)), "with": {"value": "{{ item }}"}},
        },
        {"bitten": "{{ steps.bitten.output }}", "other": "{{ steps.other.output }}"},
    )  # fmt: skip
    run = stack.client.submit(plan)
    view = stack.ended(run, 30)
    assert (view.state, view.partial) == (RunState.SUCCEEDED, True)
    assert stack.client.outputs(run) == {
        "bitten": [None if value == 4 else value for value in range(10)],
        "other": [value * 3 for value in range(10)],
    }
    step = stack.client.store.step_named(run, "bitten").step_no
    node = stack.client.store.nodes(run, step, state=NodeState.FAILED.value)[0]
    assert node.item == 4
    assert node.reason.startswith("worker_lost"), node.reason
    executions = ledger.executions(run)
    assert executions.pop("bitten[4]") == stack.settings.losses_max
    assert max(executions.values()) == 1, executions
    assert stack.client.audit(run) == []
