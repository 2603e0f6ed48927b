"""The benches themselves: tiny sizes, own side only, so that they cannot rot."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.benchmarks import peer
from tests.benchmarks.__main__ import main
from tests.benchmarks.bars import Bar
from tests.benchmarks.figures import figure
from tests.benchmarks.heft import Trace, heft_s

KEYS = {"bench", "metric", "value", "unit", "bar", "ok", "peer", "peer_value", "runs", "load"}


def _run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, list[dict[str, Any]]]:
    code = main([*arguments, "--json", "--repeats", "1", "--peers", ""])
    return code, [json.loads(line) for line in capsys.readouterr().out.splitlines()]


@pytest.mark.parametrize(
    ("bench", "nodes"),
    [
        ("queue", 40),
        *(
            pytest.param(bench, nodes, marks=pytest.mark.soak)  # each starts a stack of its own: two are enough for CI
            for bench, nodes in (("chain", 5), ("join", 20), ("hop", 2), ("light", 3), ("scale", 60))
        ),
    ],
)
def test_a_bench_says_what_it_measured_in_lines_of_json(
    bench: str, nodes: int, capsys: pytest.CaptureFixture[str]
) -> None:
    code, lines = _run(capsys, bench, "--nodes", str(nodes))
    assert code in (0, 1)  # a bar may be missed at such sizes, on such machines
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


def test_a_free_schedule_starts_each_task_as_soon_as_its_parents_and_a_slot_allow() -> None:
    seconds = {"a": 1.0, "b": 2.0, "c": 3.0, "d": 1.0}
    parents: dict[str, tuple[str, ...]] = {"a": (), "b": ("a",), "c": (), "d": ("b", "c")}
    trace = Trace("t", seconds, parents)
    assert trace.ranks() == {"a": 4.0, "b": 3.0, "c": 4.0, "d": 1.0}
    assert heft_s(trace, 2) == 4.0
    assert heft_s(trace, 1) == 7.0
    assert heft_s(trace.scaled(14.0), 2) == 8.0


def test_a_trace_runs_and_is_held_against_its_free_schedule(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tasks = [{"id": "late", "parents": ["early"], "children": []}, {"id": "early", "parents": [], "children": ["late"]}]
    ran = [{"id": "late", "runtimeInSeconds": 30}, {"id": "early", "runtimeInSeconds": 10}]
    file = tmp_path / "two.json"
    file.write_text(json.dumps({"workflow": {"specification": {"tasks": tasks}, "execution": {"tasks": ran}}}))
    _, lines = _run(capsys, "trace", str(file), "--nodes", "5")
    assert [(line["case"], line["peer_value"]) for line in lines] == [("two", 0.1)]
    assert lines[0]["value"] > 1


def test_a_bench_without_its_data_is_skipped_with_a_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["trace", "--data", str(tmp_path)]) == 0
    assert f"trace: skipped: no folder {tmp_path / 'wfinstances'}" in capsys.readouterr().err


def test_a_peer_that_takes_too_long_is_given_up_with_all_that_it_started(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "hangs.py").write_text(
        "import subprocess, sys\n"
        "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)'], stdout=subprocess.DEVNULL)\n"
        "print('{\"ready\": true}', flush=True)\n"
        "child.wait()\n"
    )
    monkeypatch.setattr(peer, "PROGRAMS", tmp_path)
    monkeypatch.setattr(peer, "python_of", lambda _: Path(sys.executable))
    with peer.PeerProcess(peer.Peer("hangs", (), "hangs.py"), patience_s=2.0) as process:
        (child,) = psutil.Process(process.pid).children()
        with pytest.raises(RuntimeError, match="hangs was given up: it took more than 2 s"):
            process.do("nothing")
        assert psutil.wait_procs([child], 10)[1] == []
