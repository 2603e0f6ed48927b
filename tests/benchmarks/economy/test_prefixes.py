"""The bench of placements on a trace of three requests."""

from __future__ import annotations

import json
from pathlib import Path

from tests.benchmarks.economy.prefixes import prefix
from tests.benchmarks.options import Options


def test_the_share_is_what_eight_caches_find_of_what_one_would(tmp_path: Path) -> None:
    folder = tmp_path / "mooncake"
    folder.mkdir()
    blocks = [[1, 2], [1, 2, 3], [9]]
    lines = [
        {"timestamp": 60_000 * at, "input_length": 512 * len(each), "output_length": 10, "hash_ids": each}
        for at, each in enumerate(blocks)
    ]
    (folder / "conversation_trace.jsonl").write_text("\n".join(map(json.dumps, lines)))
    figures = {each.metric: each.value for each in prefix(Options(repeats=1, data=tmp_path))}
    assert figures["share_of_bound"] == 1.0
    assert figures["share_at_5000"] == 1.0
