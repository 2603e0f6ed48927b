"""Submitting: once per idempotency key, from any number of processes at once."""

from __future__ import annotations

import multiprocessing
import time
from collections import Counter
from typing import Any

import pytest
from sqlalchemy import insert

from engine.errors import Conflict, NotFound, UsageError
from engine.scheduling.records import RunState
from engine.store.columns import PLAN_VERSION, RUN_TAG
from engine.store.runs import RunStore
from engine.store.writing import RUN
from tests.contract.samples import PLAN, new_run

PROCESSES = 4
RUNS_EACH = 25


def test_the_same_key_gives_the_same_run(runs: RunStore) -> None:
    first, created = runs.submit(new_run(idempotency_key="k"))
    assert created
    assert runs.submit(new_run(idempotency_key="k", inputs='{"v": {"path": "/"}}')) == (first, False)
    assert len(runs.steps(first)) == 3


def test_a_key_belongs_to_its_tenant_and_no_key_to_nobody(runs: RunStore) -> None:
    ids = {runs.submit(new_run(tenant=tenant, idempotency_key=key))[0] for tenant, key in
           [("a", "k"), ("b", "k"), ("a", None), ("a", None)]}  # fmt: skip
    assert len(ids) == 4


def test_the_same_key_with_another_plan_or_other_inputs_is_a_conflict(runs: RunStore) -> None:
    first, _ = runs.submit(new_run(idempotency_key="k"))
    with pytest.raises(Conflict, match=f"{first}, which has other inputs"):
        runs.submit(new_run(idempotency_key="k", inputs='{"v":{"path":"/tmp"}}'))
    other = type(PLAN)(name="audit", version="v-other", steps=PLAN.steps)
    with pytest.raises(Conflict, match="another plan"):
        runs.submit(new_run(idempotency_key="k", plan=other))


def test_what_was_submitted_is_read_back(runs: RunStore) -> None:
    run = new_run(tags=("nightly", "a", "a"), priority=3, deadline_at=9.5)
    runs.submit(run)
    view = runs.get(run.id)
    assert (view.tags, view.priority, view.deadline_at, view.state) == (("a", "nightly"), 3, 9.5, "pending")
    assert runs.inputs(run.id) == {"v": {"path": "/"}}
    assert runs.outputs(run.id) is None
    assert runs.plan_source(run.id) == run.plan_source
    find, inspect, report = runs.steps(run.id)
    assert (find.path, find.task, find.parents, find.fanned) == ("find", "files.find", (), False)
    assert (inspect.queue, inspect.attempts_max, inspect.fanned, report.parents) == ("cpu", 3, True, (1,))


def test_a_command_for_a_run_that_does_not_exist_is_refused(runs: RunStore) -> None:
    with pytest.raises(NotFound, match="r_none"):
        runs.add_command("r_none", "cancel")
    with pytest.raises(NotFound, match="no command 77"):
        runs.command_state(77)


def submit_many(url: str, process: int, start: Any, results: Any) -> None:
    store = RunStore(url)
    start.wait(30)
    shared = [store.submit(new_run(id=f"r_{process}_{n}_shared", idempotency_key=f"key-{n}")) for n in range(RUNS_EACH)]
    own = [store.submit(new_run(id=f"r_{process}_{n}_own")) for n in range(RUNS_EACH)]
    store.close()
    results.put((shared, own))


def test_four_processes_that_start_at_once_on_an_empty_database_lose_nothing(url: str) -> None:
    context = multiprocessing.get_context("spawn")
    start, results = context.Barrier(PROCESSES), context.Queue()
    processes = [context.Process(target=submit_many, args=(url, n, start, results)) for n in range(PROCESSES)]
    for process in processes:
        process.start()
    told = [results.get(timeout=60) for _ in processes]
    for process in processes:
        process.join(30)
        assert process.exitcode == 0
    shared = [run for shared, _ in told for run in shared]
    assert Counter(created for _, created in shared) == {True: RUNS_EACH, False: RUNS_EACH * (PROCESSES - 1)}
    assert len({run_id for run_id, _ in shared}) == RUNS_EACH
    store = RunStore(url)
    assert len(store.list_runs(limit=1000)) == RUNS_EACH + RUNS_EACH * PROCESSES
    store.close()


def test_ten_thousand_runs_are_listed_quickly(runs: RunStore) -> None:
    with runs.database.writing("many runs") as connection:
        runs_row = {"session": "s", "plan_name": "audit", "plan_version": "v", "shard": 0, "priority": 0,
                    "inputs": '{"v":1}', "reason": "", "partial": False, "created_at": 1.0}  # fmt: skip
        connection.execute(insert(PLAN_VERSION), {"version": "v", "name": "audit", "source": "{}", "created_at": 1.0})
        connection.execute(insert(RUN), [
            {**runs_row, "id": f"r_{n:05d}", "tenant": f"t{n % 7}", "state": "failed" if n % 100 == 3 else "succeeded"}
            for n in range(10_000)
        ])  # fmt: skip
        connection.execute(insert(RUN_TAG), [{"tag": "rare", "run_id": f"r_{n:05d}"} for n in range(0, 10_000, 1000)])
    began = time.perf_counter()
    assert [run.id for run in runs.list_runs(tag="rare", limit=3)] == ["r_09000", "r_08000", "r_07000"]
    assert len(runs.list_runs(tenant="t3", plan="audit", session="s", since=0.5)) == 50
    page = runs.list_runs(states=[RunState.FAILED], limit=10)
    assert len(page) == 10
    assert runs.list_runs(limit=2, cursor="r_00002")[0].id == "r_00001"
    assert time.perf_counter() - began < 1.0


def test_a_page_too_large_is_refused(runs: RunStore) -> None:
    with pytest.raises(UsageError, match="limit: 0"):
        runs.list_runs(limit=0)
