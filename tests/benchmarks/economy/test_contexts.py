"""The bench of contexts on one conversation."""

from __future__ import annotations

import json
from pathlib import Path

from tests.benchmarks.economy.contexts import context
from tests.benchmarks.options import Options


def test_a_conversation_is_billed_with_and_without_a_cache(tmp_path: Path) -> None:
    call = {"id": "c1", "function": {"name": "find", "arguments": '{"id": "A1", "other": "unseen"}'}}
    talk = [
        {"role": "system", "content": "policy " * 100},
        {"role": "user", "content": "my order is A1"},
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "content": '{"state": "sent"}'},
        {"role": "assistant", "content": "It was sent."},
    ]
    folder = tmp_path / "tau_bench"
    folder.mkdir()
    (folder / "gpt-4o-airline.json").write_text(json.dumps([{"traj": talk}]))
    figures = {(each.metric, each.case): each for each in context(Options(data=tmp_path))}
    assert 1.3 < figures["cost_ratio", None].value < 1.5  # about twice the policy over a write and a read: 2 / 1.35
    assert figures["argument_recall", None].value == 1.0
    assert figures["argument_recall", None].note.startswith("1 of 2 values")
