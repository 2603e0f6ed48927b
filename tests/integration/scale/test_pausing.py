"""Pause, resume and drain: a queue, a worker and a run, on real processes and through the command line."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from settings import as_environment
from tests.integration.scale.conftest import Make
from tests.integration.scale.installation import ROOT, Installation


def _flywheel(installation: Installation, *arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "engine.cli.main", *arguments],
        env=as_environment(installation.settings) | {"PYTHONPATH": str(ROOT)},
        cwd=ROOT, capture_output=True, text=True, timeout=30,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


def _ready(installation: Installation, run_id: str) -> bool:
    """Whether the run's only step is expanded and waits to be dispatched."""
    [step] = installation.client.store.progress(run_id).steps
    return step.state.value == "running" and step.out == 0 and step.done == 0


def test_a_paused_queue_gets_nothing_until_resumed_also_over_a_scheduler_restart(make: Make) -> None:
    installation = make()
    scheduler = installation.scheduler()
    installation.worker(queues="io,prefetch")
    installation.ready("io", "prefetch")
    assert _flywheel(installation, "queues", "pause", "io") == "io paused\n"
    paused = installation.submit({"a": {"task": "scale.nothing"}})
    other = installation.submit({"a": {"task": "scale.nothing", "queue": "prefetch"}})
    assert installation.client.wait(other, 20).state.value == "succeeded"
    assert _ready(installation, paused)
    shown = json.loads(_flywheel(installation, "queues", "--json"))["items"]
    assert {row["queue"]: (row["paused"], row["ready"]) for row in shown}["io"] == (True, 1)

    assert scheduler.terminate() == 0
    installation.scheduler()
    again = installation.submit({"a": {"task": "scale.nothing", "queue": "prefetch"}})
    assert installation.client.wait(again, 20).state.value == "succeeded"
    assert _ready(installation, paused)

    assert _flywheel(installation, "queues", "resume", "io") == "io resumed\n"
    assert installation.client.wait(paused, 20).state.value == "succeeded"


def test_a_drained_worker_finishes_what_it_has_takes_nothing_new_and_ends_with_zero(
    installation: Installation, tmp_path: Path
) -> None:
    installation.scheduler()
    first = installation.worker(slots=2)
    installation.ready()
    begun, release = tmp_path / "begun", tmp_path / "release"
    arguments = {"begun": str(begun), "release": str(release)}
    run_id = installation.submit({"many": {"task": "scale.until", "for_each": list(range(6)), "with": arguments}})
    installation.wait(lambda: begun.exists() and len(begun.read_text().splitlines()) == 2)
    [name] = [info.name for info in installation.hot.workers()]

    drain = subprocess.Popen(
        [sys.executable, "-m", "engine.cli.main", "workers", "drain", name.split("@")[0]],
        env=as_environment(installation.settings) | {"PYTHONPATH": str(ROOT)},
        cwd=ROOT, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        installation.wait(lambda: [info.queues for info in installation.hot.workers()] == [()])
        shown = json.loads(_flywheel(installation, "workers", "--json"))["items"]
        assert [(row["worker"], row["state"]) for row in shown] == [(name, "draining")]
        second = installation.worker(slots=2)
        installation.ready()
        installation.wait(lambda: len(begun.read_text().splitlines()) == 4)  # the second's; the first took no more
        assert first.popen.poll() is None
        release.touch()
        assert first.popen.wait(20) == 0
        out, _ = drain.communicate(timeout=20)
        assert (out, drain.returncode) == (f"{name} has left\n", 0)
    finally:
        drain.kill()
        drain.wait()
    view = installation.client.wait(run_id, 30)
    assert view.state.value == "succeeded", view.reason
    assert installation.client.audit(run_id) == []
    assert len(begun.read_text().splitlines()) == 6  # nothing ran twice
    assert second.terminate() == 0


def test_a_drained_run_is_paused_with_nothing_of_it_running(installation: Installation, tmp_path: Path) -> None:
    installation.scheduler()
    installation.worker(slots=2)
    installation.ready()
    begun, release = tmp_path / "begun", tmp_path / "release"
    arguments = {"begun": str(begun), "release": str(release)}
    step = {"task": "scale.until", "for_each": list(range(6)), "with": arguments, "max_parallel": 2}
    run_id = installation.submit({"many": step})
    installation.wait(lambda: begun.exists() and len(begun.read_text().splitlines()) == 2)
    drain = subprocess.Popen(
        [sys.executable, "-m", "engine.cli.main", "runs", "drain", run_id],
        env=as_environment(installation.settings) | {"PYTHONPATH": str(ROOT)},
        cwd=ROOT, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        installation.wait(lambda: installation.client.run(run_id).state.value == "paused")
        assert drain.poll() is None
        release.touch()
        out, _ = drain.communicate(timeout=20)
        assert (out, drain.returncode) == (f"{run_id} paused\n", 0)
    finally:
        drain.kill()
        drain.wait()
    [progress] = installation.client.store.progress(run_id).steps
    assert (progress.out, progress.succeeded) == (0, 2)
    _flywheel(installation, "runs", "resume", run_id)
    assert installation.client.wait(run_id, 20).state.value == "succeeded"
