"""200 runs of 50 nodes, submitted from four processes at once: nothing is lost on either database."""

from __future__ import annotations

import json
import subprocess
import sys
import time

import pytest

from settings import as_environment
from tests.integration.scale.conftest import Make
from tests.integration.scale.installation import ROOT, Installation

_SUBMITTER = """
import json, sys
from engine.api.client import Client
from engine.api.plans import prepare
from engine.plan.model import Plan
from settings import load

runs, nodes = int(sys.argv[1]), int(sys.argv[2])
step = {"task": "scale.nothing", "for_each": list(range(nodes - 2)), "with": {"value": "{{ item }}"}}
last = {"task": "scale.nothing", "with": {"value": "{{ steps.many.output }}"}}
first = {"task": "scale.nothing"}
plan = {"name": "many", "steps": {"first": first, "many": {**step, "after": ["first"]}, "last": last},
        "outputs": {"last": "{{ steps.last.output }}"}}
settings = load()
with Client(settings) as client:
    prepared = prepare(Plan.model_validate(plan), settings)
    print("prepared", flush=True)
    sys.stdin.readline()
    print(json.dumps([client.submit(prepared) for _ in range(runs)]))
"""
_PROCESSES = 4


def _submit_at_once(installation: Installation, runs: int, nodes: int) -> tuple[list[str], float]:
    """The ids of ``runs`` runs, submitted by four processes that begin together, and when they began."""
    submitters = [
        subprocess.Popen(
            [sys.executable, "-c", _SUBMITTER, str(runs // _PROCESSES), str(nodes)],
            env=as_environment(installation.settings) | {"PYTHONPATH": str(ROOT)},
            cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )
        for _ in range(_PROCESSES)
    ]  # fmt: skip
    ids: list[str] = []
    try:
        for submitter in submitters:
            assert submitter.stdout is not None
            assert submitter.stdout.readline() == "prepared\n"
        began = time.monotonic()
        for submitter in submitters:
            assert submitter.stdin is not None
            submitter.stdin.write("go\n")
            submitter.stdin.flush()
        for submitter in submitters:
            out, errors = submitter.communicate(timeout=100)
            assert submitter.returncode == 0 and not errors, errors
            ids += json.loads(out)
    finally:
        for submitter in submitters:
            submitter.kill()
            submitter.wait()
    return ids, began


def _check(installation: Installation, runs: int, nodes: int, capsys: pytest.CaptureFixture[str]) -> None:
    processes = [installation.scheduler(), installation.worker(slots=8)]
    installation.ready()
    ids, started = _submit_at_once(installation, runs, nodes)
    submitted_s = time.monotonic() - started
    assert len(set(ids)) == runs
    for run_id in ids:
        view = installation.client.wait(run_id, 110)
        assert view.state.value == "succeeded", (run_id, view.reason)
    seconds = time.monotonic() - started
    for run_id in ids:
        assert installation.client.audit(run_id) == []
        assert installation.client.outputs(run_id) == {"last": list(range(nodes - 2))}
    for process in processes:
        assert process.terminate() == 0
        assert "locked" not in process.said()
        assert "Traceback" not in process.said(), process.said()
    with capsys.disabled():
        name = "SQLite" if installation.settings.database_url.startswith("sqlite") else "Postgres"
        print(
            f"\n  {name}: {runs} runs of {nodes} nodes from {_PROCESSES} processes: submitted in {submitted_s:.1f} s, "
            f"done in {seconds:.1f} s, {runs * nodes / seconds:,.0f} nodes/s"
        )


def test_runs_from_four_processes_at_once_all_end_well(
    make: Make, database: dict[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    _check(make(**database), 20, 50, capsys)


@pytest.mark.soak
def test_two_hundred_runs_from_four_processes_at_once_all_end_well(
    make: Make, database: dict[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    _check(make(**database), 200, 50, capsys)
