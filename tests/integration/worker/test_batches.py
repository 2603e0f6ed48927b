"""Nodes that share one invocation on a real worker: each is reported by itself."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from engine.wire import Outcome
from tests.services.worker import Bench


def batch(file: Path, **clause: Any) -> dict[str, Any]:
    return {
        "with_": {"number": "{{ item + 1 }}", "file": str(file)},
        "care": {"batch": {"max_items": 20, **clause}},
    }


def test_the_nodes_of_a_batch_are_called_once_and_fail_alone(bench: Bench, tmp_path: Path) -> None:
    bench.start()
    file = tmp_path / "marks"
    delivery = bench.delivery("t.double", nodes=4, **batch(file))
    bench.send(delivery)
    ended = bench.ended(delivery)
    assert file.read_text() == "1,2,3,4\n"
    assert [node.outcome for node in ended] == [Outcome.OK, Outcome.OK, Outcome.FAILED, Outcome.OK]
    assert [node.result for node in ended] == ['{"v":2}', '{"v":4}', None, '{"v":8}']
    assert ended[2].error is not None and ended[2].error.retryable
    assert [note for node in ended for note in node.notes] == [("seen", {"id": "s[0]:4"})]
    spans = [(node.begun_at or 0.0, node.ended_at or 0.0) for node in ended]
    assert [first[1] for first, _ in pairwise(spans)] == pytest.approx([second[0] for _, second in pairwise(spans)])


def test_arguments_that_do_not_hold_fail_their_node_only(bench: Bench, tmp_path: Path) -> None:
    bench.start()
    file = tmp_path / "marks"
    delivery = bench.delivery(
        "t.double", nodes=3, **batch(file) | {"with_": {"number": "{{ [1, 'x', 5][item] }}", "file": str(file)}}
    )
    bench.send(delivery)
    assert [node.outcome for node in bench.ended(delivery)] == [Outcome.OK, Outcome.FAILED, Outcome.OK]
    assert file.read_text() == "1,5\n"


def test_a_batch_is_parted_where_its_arguments_are_long(bench: Bench, tmp_path: Path) -> None:
    bench.start()
    file = tmp_path / "marks"
    tokens = (len(str(file)) + 25) // 3 * 2 + 10  # two of them, not three
    delivery = bench.delivery("t.double", nodes=5, **batch(file, max_tokens=tokens))
    bench.send(delivery)
    bench.ended(delivery)
    assert file.read_text() == "1,2\n3,4\n5\n"


def test_too_few_results_fail_all_and_say_so(bench: Bench, tmp_path: Path) -> None:
    bench.start()
    delivery = bench.delivery(
        "t.double", nodes=2, **batch(tmp_path / "m") | {"with_": {"number": 17, "file": str(tmp_path / "m")}}
    )
    bench.send(delivery)
    ended = bench.ended(delivery)
    assert [node.outcome for node in ended] == [Outcome.FAILED, Outcome.FAILED]
    assert ended[0].error is not None and "gave 1 for 2 calls" in ended[0].error.message


def test_all_of_a_batch_are_lost_with_their_process(bench: Bench, tmp_path: Path) -> None:
    bench.start()
    delivery = bench.delivery(
        "t.double", nodes=3, **batch(tmp_path / "m") | {"with_": {"number": 13, "file": str(tmp_path / "m")}}
    )
    bench.send(delivery)
    assert {node.outcome for node in bench.ended(delivery)} == {Outcome.LOST}
