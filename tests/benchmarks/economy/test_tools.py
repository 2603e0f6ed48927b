"""The bench of tool calls on a record of a few calls."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tests.benchmarks.economy.tools import tools
from tests.benchmarks.options import Options

_Asked = tuple[str, dict[str, Any], Any]


def _run(trial: int, *calls: _Asked) -> dict[str, Any]:
    messages: list[dict[str, Any]] = []
    for number, (name, arguments, result) in enumerate(calls):
        asked = {"id": str(number), "function": {"name": name, "arguments": json.dumps(arguments)}}
        messages.append({"role": "assistant", "tool_calls": [asked]})
        messages.append({"role": "tool", "tool_call_id": str(number), "content": json.dumps(result)})
    return {"trial": trial, "traj": messages}


def test_reads_between_writes_of_what_they_are_about_are_hits(tmp_path: Path) -> None:
    user: _Asked = ("get_user_details", {"user_id": "u"}, {"payment_methods": {"card": {}}})
    other: _Asked = ("get_reservation_details", {"reservation_id": "R"}, {})
    paid: _Asked = ("update_reservation_baggages", {"reservation_id": "S", "payment_id": "card"}, {})
    folder = tmp_path / "tau_bench"
    folder.mkdir()
    runs = [_run(0, user, other, user), _run(1, paid, user, other, user)]
    (folder / "gpt-4o-airline.json").write_text(json.dumps(runs))
    figures = {each.metric: each for each in tools(Options(data=tmp_path))}
    assert figures["share_of_oracle"].value == 1.0
    assert figures["share_of_oracle"].note.startswith("3 of 3;")
    assert figures["stale_reads"].value == 0
