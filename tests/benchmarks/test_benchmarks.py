"""The benches themselves: tiny sizes, own side only, so that they cannot rot."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.benchmarks.__main__ import main
from tests.benchmarks.bars import Bar
from tests.benchmarks.figures import figure

KEYS = {"bench", "metric", "value", "unit", "bar", "ok", "peer", "peer_value", "runs", "load"}


def _run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, list[dict[str, Any]]]:
    code = main([*arguments, "--json", "--repeats", "1", "--peers", ""])
    return code, [json.loads(line) for line in capsys.readouterr().out.splitlines()]


@pytest.mark.parametrize(("bench", "nodes"), [("queue", 40), ("chain", 5), ("join", 20), ("hop", 2)])
def test_a_bench_says_what_it_measured_in_lines_of_json(
    bench: str, nodes: int, capsys: pytest.CaptureFixture[str]
) -> None:
    code, lines = _run(capsys, bench, "--nodes", str(nodes))
    assert code == 0
    assert lines
    for line in lines:
        assert line.keys() >= KEYS
        assert line["bench"] == bench
        assert line["value"] > 0
        assert len(line["runs"]) == 1


def test_a_figure_is_judged_on_its_side_of_the_bar() -> None:
    low, high = Bar(2.0, None), Bar(2.0, None, at_most=True)
    assert figure("b", "m", "x", [1.9, 2.1, 2.0], 0.0, bar=low).ok is True
    assert figure("b", "m", "x", [1.9, 2.1, 1.8], 0.0, bar=low).ok is False
    assert figure("b", "m", "x", [1.9, 2.1, 2.2], 0.0, bar=high).ok is False
    assert figure("b", "m", "x", [1.0], 0.0).ok is None
