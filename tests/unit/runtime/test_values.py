"""What a scheduler keeps of its runs' values."""

from __future__ import annotations

from pathlib import Path

import pytest

from engine.artefacts.store import ArtefactStore
from engine.runtime import values
from engine.runtime.values import Values
from tests.unit.scheduling.worlds import OneRun, plan_of, step


def test_outputs_that_were_made_are_not_all_kept_and_are_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(values, "OUTPUTS_KEPT", 3)
    run = OneRun(plan_of(*(step(no) for no in range(5))))
    for placement in run.send():
        run.end(placement)
    live = run.core.runs["r"]
    held = Values(run.journal, ArtefactStore(f"file://{tmp_path}"))
    assert [held.output(live, no) for no in range(5)] == [{"v": 1}] * 5
    assert len(held._outputs) == 3
    assert held.output(live, 0) == {"v": 1}
