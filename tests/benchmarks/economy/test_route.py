"""The bench of routing on a few made-up prompts."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from tests.benchmarks.economy.route import STRONG, WEAK, apgr, route
from tests.benchmarks.options import Options


def test_the_gap_recovered_is_a_half_for_a_coin_and_more_for_who_knows() -> None:
    gaps = [1.0, 0.0, 0.0, 0.0]
    assert apgr([4, 3, 2, 1], gaps) == pytest.approx(0.8)  # after 0, 1, 2, 3, 4 calls: 0, 1, 1, 1, 1
    assert apgr([1, 2, 3, 4], gaps) == pytest.approx(0.2)
    assert (apgr([4, 3, 2, 1], gaps) + apgr([1, 2, 3, 4], gaps)) / 2 == pytest.approx(0.5)


def test_a_router_finds_the_prompts_that_need_the_strong_model(tmp_path: Path) -> None:
    folder = tmp_path / "routellm"
    folder.mkdir()
    for name in ("mmlu_easy", "mmlu_hard", "gsm8k_responses"):
        with (folder / f"{name}.csv").open("w", newline="", encoding="utf-8") as file:
            lines = csv.writer(file)
            lines.writerow(["prompt", WEAK, STRONG])
            for place in range(100):
                hard = name != "mmlu_easy" and place % 4 > 0
                asked = f"Prove the integral of x^{place} = {place}" if hard else f"Name the capital of land {place}"
                lines.writerow([asked, not hard, True])
    figures = {each.metric: each.value for each in route(Options(data=tmp_path, nodes=1, repeats=2))}
    assert figures["apgr_100"] > 0.75
