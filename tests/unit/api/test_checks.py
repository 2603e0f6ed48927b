"""What the doctor says of the economy's file."""

from __future__ import annotations

from pathlib import Path

from engine.api.checks import Status, economy_findings
from settings import load


def test_an_economy_that_does_not_hold_is_found(tmp_path: Path) -> None:
    file = tmp_path / "economy.yaml"
    settings = load(home=tmp_path / "home", economy=file)
    assert list(economy_findings(load(home=tmp_path / "home"))) == []
    file.write_text("budgets: {time_zone: Mars/Base}")
    [found] = economy_findings(settings)
    assert found.status is Status.FAIL and "'Mars/Base' is no time zone" in found.finding
    file.write_text("budgets: {time_zone: Europe/Berlin}")
    [found] = economy_findings(settings)
    assert found.status is Status.OK
