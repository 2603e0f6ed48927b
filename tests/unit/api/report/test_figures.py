"""A report's figures: what is known adds up, what nobody looked at is unknown."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from engine.api.report.figures import Rates, figures
from engine.api.report.page import page
from engine.costs.usage import Usage
from engine.store.hedged import Hedged
from engine.store.spending import Calls, Coordination, Spending, Spread, Tries

RATES = Rates(worker_usd_per_h=3.6, call_usd={"http.get": 0.5})
CALL = Calls(
    kind="model", name="openai/gpt-5.4", provider="openai", purpose="answer", cache="miss", settled=True, outcome="ok",
    task="llm.classify", skill="triage", phase="execution", attempt_kind="primary", tenant="acme", session="s",
    entries=10, usage=Usage(100, 300, 0, 0, 50, 25), cost_nusd=2_000_000_000, saved_nusd=500_000_000, looked=0,
    cited_of=0, cited=0, scored=0, score_sum=0.0,
)  # fmt: skip
TRIED = Tries("http.get", "http.get", "execution", "primary", attempts=8, begun=6, won=5, body_s=1000.0)
BASIS = {"prices": "x", "worker_usd_per_h": 0.05, "deleted_runs": {"usd": 0.0, "calls": 0, "tokens": 0}}
NOTHING = Spending(1, 0, None, None, [], [], [], {}, {}, 0, 0.0)


def told(**found: Any) -> dict[str, Any]:
    return figures(replace(NOTHING, **found), RATES)


def test_the_whole_is_the_sum_of_models_tools_workers_and_coordination() -> None:
    total = told(
        calls=[CALL, replace(CALL, settled=False, outcome="cut", entries=1, cost_nusd=10**9)], tries=[TRIED],
        coordination=[Coordination("http.get", "http.get", "execution", 100.0)],
    )["total"]  # fmt: skip
    assert (total["models_usd"], total["tools_usd"], total["workers_usd"], total["coordination_usd"]) == (3, 3, 1, 0.1)
    assert total["usd"] == pytest.approx(7.1)
    assert (total["not_settled_usd"], total["in_vain_usd"], total["saved_usd"]) == (1, 1, 1)
    assert (total["calls"], total["tokens"]) == (11, 950)


def test_what_nobody_looked_at_is_unknown() -> None:
    found = told(calls=[CALL])
    assert found["context"] == {
        "calls": 10, "looked": 0, "context_tokens": 0, "cited_tokens": 0, "utilisation": None,
    }  # fmt: skip
    (row,) = found["quality"]
    assert (row["score"], row["scored"], row["unknown"], row["usd_per_call"]) == (None, 0, 10, 0.2)


def test_a_score_and_a_use_of_context_are_of_those_that_were_looked_at() -> None:
    found = told(calls=[CALL, replace(CALL, scored=4, score_sum=2.0, looked=3, cited_of=100, cited=25)])
    assert found["context"]["utilisation"] == 0.25
    (row,) = found["quality"]
    assert (row["score"], row["scored"], row["unknown"]) == (0.5, 4, 16)


def test_checks_and_judges_are_no_answers_whose_quality_is_asked() -> None:
    assert told(calls=[replace(CALL, purpose="judge")])["quality"] == []


def test_a_hit_of_a_cache_is_no_call_and_costs_no_call_of_a_tool() -> None:
    hit = replace(CALL, cache="hit", usage=Usage(), cost_nusd=0, saved_nusd=7_000_000_000, entries=30)
    found = told(
        calls=[CALL, hit, replace(hit, kind="tool", name="http.get", task="http.get", entries=2)], tries=[TRIED]
    )
    assert found["total"]["calls"] == 10
    (tool,) = found["tools"]
    assert (tool["cached"], tool["calls_usd"]) == (2, 4 * 0.5)
    rates = {row["cache"]: (row["hit_rate"], row["saved_usd"]) for row in found["caches"]}
    assert rates == {
        "model results": (0.75, 7.0),
        "tool results": (1.0, 7.0),
        "prompt caches (tokens)": (0.75, 0.5),
    }


def test_retries_are_told_against_first_tries_and_copies_apart() -> None:
    tries = [TRIED, replace(TRIED, kind="retry", attempts=2), replace(TRIED, kind="hedge", attempts=5)]
    (row,) = told(tries=tries, calls=[replace(CALL, task="http.get", purpose="repair", entries=3)])["retries"]
    assert (row["attempts"], row["retries"], row["rate"], row["repairs"]) == (15, 2, 0.2, 3)


def test_extras_tell_what_they_cost_and_won() -> None:
    hedge = replace(TRIED, kind="hedge", attempts=2, begun=2, won=1)
    found = told(
        tries=[hedge], calls=[replace(CALL, attempt_kind="hedge")], duplicates=1, duplicate_s=10.0,
        bets={"speculate": {"saved_s": 3.0, "wasted_s": 1.0}}, hedged=Hedged(1, 1, 2.5, 0.5),
    )["extras"]  # fmt: skip
    rows = {row["kind"]: row for row in found}
    assert (rows["hedge"]["won"], rows["hedge"]["usd"], rows["hedge"]["saved_s"]) == (1, 1 + 1 + 2, 2.5)
    assert (rows["hedge"]["wasted_s"], rows["hedge"]["saved_is"]) == (0.5, "at least")
    assert (rows["speculative"]["saved_s"], rows["speculative"]["wasted_s"]) == (3.0, 1.0)
    assert rows["duplicate reports"]["usd"] == pytest.approx(0.01)


def test_a_run_that_spent_nothing_has_a_report() -> None:
    found = told()
    assert found["total"]["usd"] == 0
    assert "unknown" in page("nothing", found | BASIS)


def test_a_page_stands_alone_and_takes_no_mark_up_from_names() -> None:
    found = told(
        calls=[replace(CALL, name="x/<script>alert(1)</script>", scored=1, score_sum=1.0)], tries=[TRIED],
        latency={("execution", "call"): Spread(3, 0.0, 12.5), ("mine", "queue"): Spread(1, 1.0, 1.0)},
    )  # fmt: skip
    text = page("A & B", found | BASIS)
    assert "<script" not in text
    assert "http://" not in text
    assert "https://" not in text
    assert text.count("<svg") == 5
    assert "A &amp; B" in text
