"""The bench of the task of 13 calls: both sides ask the same, and what saved what adds up."""

from __future__ import annotations

from engine.costs.entry import Entry
from engine.costs.usage import Usage
from engine.dag.compile import compile_plan
from engine.plan.registry import load_task_modules
from engine.store.ledger import StoredEntry
from tests.benchmarks.economy import task
from tests.services.models import Simulated, SimulatedModels


def test_the_baseline_asks_thirteen_times_for_ten_thousand_tokens_each() -> None:
    quick = {name: Simulated(**{**vars(model), "first_token_s": 0.0, "tokens_per_s": 1e9})
             for name, model in task._MODELS.items()}  # fmt: skip
    with SimulatedModels(quick, answer=task._answered, wrong=task._wronged) as server:
        turn = task._baseline(server, "a kind", 0)
        assert server.billed["strong"].calls == 13 == server.calls
        assert all(9_400 <= call.input <= 10_600 and 1_990 <= call.output <= 2_000 for call in server.log), [
            (call.input, call.output) for call in server.log
        ]
        assert sum(call.cached for call in server.log) > 12 * 7_000
    assert 0 < turn.right <= 6 and turn.usd > 0


def test_the_plan_has_as_many() -> None:
    plan = compile_plan(task._plan(), load_task_modules(["tasks"]))
    assert [step.path for step in plan.steps if step.task == "llm.complete"] == [
        "plan", "decompose", "execute", "check", "consolidate",
    ]  # fmt: skip


def test_a_kept_answer_counts_once_and_not_beside_the_one_that_was_paid() -> None:
    def entry(name: str, cost: int, cache: str, step: int) -> StoredEntry:
        usage = Usage(input=10_000, output=2_000) if cost else Usage()
        made = Entry("e", "model", f"simulated/{name}", usage=usage, cost_nusd=cost, saved_nusd=9 * 10**6, cache=cache)
        return StoredEntry("r", step, 0, 1, made)

    turn = task._Turn(5.0, 0.1, 6, [
        entry("strong", 0, "hit", 0), entry("strong", 0, "hit", 0),
        entry("small", 6_500_000, "miss", 1), entry("strong", 0, "hit", 1),
    ])  # fmt: skip
    said = task._split([(task._Turn(10.0, 0.3, 6), turn)])
    assert said.startswith("1.0 calls, 1.0 of them small, 0.0 asked anew of the strong one, 1.0 kept.")
    assert "kept answers $0.0090" in said
    assert "routing $0.0260 less $0.0000" in said
