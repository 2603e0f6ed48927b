"""How many no-op nodes a second go through one scheduler and one threaded worker, one node a message."""

from __future__ import annotations

from typing import Any

import pytest

from tests.integration.scale.installation import Installation


def _print_rate(
    installation: Installation, what: str, steps: dict[str, Any], nodes: int, capsys: pytest.CaptureFixture[str]
) -> None:
    installation.scheduler()
    installation.worker(slots=8)
    installation.ready()
    installation.client.wait(installation.submit({"warm": {"task": "scale.nothing"}}, name="warm"), 20)
    run_id = installation.submit(steps)
    view = installation.client.wait(run_id, 200)
    assert view.state.value == "succeeded", view.reason
    assert installation.client.audit(run_id) == []
    assert view.finished_at is not None
    seconds = view.finished_at - view.created_at
    with capsys.disabled():
        print(f"\n  {nodes:,} nodes, {what}: {seconds:.2f} s, {nodes / seconds:,.0f} nodes/s")


def _independent(count: int) -> dict[str, Any]:
    return {"many": {"task": "scale.nothing", "for_each": list(range(count)), "with": {"value": "{{ item }}"}}}


def _chain(count: int) -> dict[str, Any]:
    after = [{}, *({"after": [f"s{number - 1}"]} for number in range(1, count))]
    return {f"s{number}": {"task": "scale.nothing", **after[number]} for number in range(count)}


def test_a_thousand_independent_nodes(installation: Installation, capsys: pytest.CaptureFixture[str]) -> None:
    _print_rate(installation, "independent", _independent(1000), 1000, capsys)


def test_a_chain_of_fifty(installation: Installation, capsys: pytest.CaptureFixture[str]) -> None:
    _print_rate(installation, "one after the other", _chain(50), 50, capsys)


@pytest.mark.soak
@pytest.mark.timeout(240)
def test_ten_thousand_independent_nodes(installation: Installation, capsys: pytest.CaptureFixture[str]) -> None:
    _print_rate(installation, "independent", _independent(10_000), 10_000, capsys)


@pytest.mark.soak
def test_a_chain_of_two_hundred(installation: Installation, capsys: pytest.CaptureFixture[str]) -> None:
    _print_rate(installation, "one after the other", _chain(200), 200, capsys)
