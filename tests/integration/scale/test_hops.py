"""How far a newcomer has to follow: frames of the engine under a body, files that one submission runs through.

The aims are 6 and 8 (``docs/architecture.md``, "Hops"); celery itself has 29 and 33.
"""

from __future__ import annotations

import json
import sys
import threading
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

from engine.api.plans import prepare
from engine.plan.model import Plan
from tests.integration.scale.conftest import Make

FRAMES_MAX = 6
FILES_MAX = 16
"""Above the aim, see there: half of the files give one short function each (a clock, an id, a key's name)."""
_ENGINE = Path(__file__).parents[3] / "engine"


def _between_celery_and_the_body(stack: list[str]) -> list[str]:
    """The engine's frames; below Celery's are those in which this process was started, or forked."""
    # A body with a limit in a threaded worker has a thread of its own, with no Celery below it.
    last = max((index for index, frame in enumerate(stack) if "/site-packages/celery/" in frame), default=0)
    return [frame for frame in stack[last:] if frame.startswith(str(_ENGINE))]


@pytest.mark.parametrize(("queue", "pool"), [("cpu", "prefork"), ("io", "threads")])
def test_few_frames_of_the_engine_are_under_a_body(
    make: Make, queue: str, pool: str, capsys: pytest.CaptureFixture[str]
) -> None:
    installation = make(task_modules=("tasks", "tests.integration.worker.bodies"))
    installation.scheduler()
    installation.worker(queues=queue, slots=1, pool=pool)
    installation.ready(queue)
    stacks = {}
    for name, timeout in (("plain", None), ("limited", "30s")):
        steps = {"look": {"task": "t.frames", "queue": queue, "timeout": timeout}}
        plan = {"name": name, "steps": steps, "outputs": {"frames": "{{ steps.look.output }}"}}
        run_id = installation.client.submit(Plan.model_validate(plan))
        assert installation.client.wait(run_id, 20).state.value == "succeeded"
        stacks[name] = _between_celery_and_the_body(installation.client.outputs(run_id)["frames"])
    counts = {name: len(frames) for name, frames in stacks.items()}
    with capsys.disabled():
        print(f"\n  frames of engine under a body ({pool}): {json.dumps(counts)}")
        for frames in stacks.values():
            print("   ", " > ".join(frame.rpartition("engine/")[2] for frame in frames))
    assert max(counts.values()) <= FRAMES_MAX, stacks


class _Files:
    """The engine's files whose functions are called while this is entered, imports left out."""

    def __init__(self) -> None:
        self.functions: set[tuple[str, str]] = set()
        self._importing = 0

    def __enter__(self) -> _Files:
        threading.setprofile(self._see)
        sys.setprofile(self._see)
        return self

    def __exit__(self, *_: object) -> None:
        sys.setprofile(None)
        threading.setprofile(None)

    @property
    def names(self) -> list[str]:
        return sorted({file for file, _ in self.functions})

    def _see(self, frame: FrameType, event: str, _: Any) -> None:
        code = frame.f_code
        if event in ("call", "return") and code.co_name == "<module>":
            self._importing += 1 if event == "call" else -1
        elif event == "call" and not self._importing and code.co_filename.startswith(str(_ENGINE)):
            self.functions.add((str(Path(code.co_filename).relative_to(_ENGINE.parent)), code.co_qualname))


def test_one_submission_runs_through_few_files(make: Make, capsys: pytest.CaptureFixture[str]) -> None:
    installation = make()
    steps = {
        "many": {"task": "scale.nothing", "for_each": "{{ inputs.items }}", "with": {"value": "{{ item }}"}},
        "last": {"task": "scale.nothing", "with": {"value": "{{ steps.many.output }}"}},
    }
    plan = Plan.model_validate({"name": "hops", "inputs": {"items": {"type": "list"}}, "steps": steps})
    prepared = prepare(plan, installation.settings)
    with _Files() as whole:
        installation.client.submit(plan, {"items": [1, 2]})
    with _Files() as files:
        installation.client.submit(prepared, {"items": [1, 2]})
    with capsys.disabled():
        print(f"\n  files of one submission: {len(files.names)}, with the plan's checks {len(whole.names)}")
        for names in (files.names, whole.names):
            print("   ", " ".join(names))
    assert len(files.names) <= FILES_MAX
