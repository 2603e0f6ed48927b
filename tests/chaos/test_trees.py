"""Runs below runs, two levels deep: what is done to the root, and what breaks, reaches every run of the tree."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest
import yaml

from engine.errors import Conflict, NotFound
from engine.scheduling.records import RunState
from tests.chaos.bodies import LEDGER
from tests.chaos.runs import Ledger, flywheel
from tests.chaos.test_lost_redis import IN_FLIGHT
from tests.chaos.trees import GROUPS, RUNS, Tree, middle, outputs_of_group
from tests.services.postgres import Postgres
from tests.services.stack import Stack, until

SLOW_S = 0.4
"""Of a body, where something is done in the middle of a tree."""


def test_an_undisturbed_tree_repeats_nothing_and_goes_with_its_root(stack: Stack, ledger: Ledger) -> None:
    tree = Tree(stack, ledger, "undisturbed tree", work_s=0.02).submit(tenant="trees")
    tree.check()
    below = [view.id for view in tree.views()]
    assert len(below) == RUNS
    stack.client.delete_tenant("trees")
    for run in below:
        with pytest.raises(NotFound):
            stack.client.run(run)


def test_no_body_of_a_tree_begins_after_cancel_returns(stack: Stack, ledger: Ledger) -> None:
    tree = Tree(stack, ledger, "cancelled tree", SLOW_S).submit().when_begun(3)
    stack.client.cancel(tree.run, 30)
    returned_at = time.monotonic()
    assert stack.ended(tree.run, 30).state is RunState.CANCELLED
    tree.check_each(RunState.CANCELLED)
    late = [line for line in tree.lines() if line.mono > returned_at]
    assert not late
    with pytest.raises(Conflict):
        stack.client.cancel(tree.run)


def test_a_cancel_of_a_tree_holds_though_every_process_dies(stack: Stack, ledger: Ledger) -> None:
    tree = Tree(stack, ledger, "cancelled tree, everything dies", SLOW_S).submit().when_begun(3)
    stack.client.cancel(tree.run, 30)
    returned_at = time.monotonic()
    stack.kill_everything()
    stack.redis.flush()
    for process in stack.processes:
        process.start()
    assert stack.ended(tree.run, 30).state is RunState.CANCELLED
    tree.check_each(RunState.CANCELLED)
    assert not [line for line in tree.lines() if line.mono > returned_at]


def test_a_paused_tree_begins_nothing_until_it_is_resumed(stack: Stack, ledger: Ledger) -> None:
    tree = Tree(stack, ledger, "paused tree", SLOW_S).submit().when_begun(3)
    stack.client.drain(tree.run, 30)
    live = [view for view in tree.views() if not RunState(view.state).final]
    assert {view.state for view in live} == {"paused"}
    until(lambda: len(tree.lines("begin")) == len(tree.lines("end")), 20, "what had begun has ended")
    begun = len(tree.lines())
    for _ in range(3):
        stack.ready()  # the scheduler has read what it was told, and had every chance to go on
    assert len(tree.lines()) == begun
    assert stack.client.command(tree.run, "resume")
    tree.check()


def test_a_tree_whose_scheduler_is_killed_repeats_nothing(stack: Stack, ledger: Ledger) -> None:
    tree = Tree(stack, ledger, "SIGKILL of the scheduler, twice, under a tree").submit().when_begun(3)
    stack.scheduler.kill()
    stack.scheduler.start()
    until(lambda: any(line.step == "total" for line in tree.lines()), 20, "a step that only the new scheduler opens")
    stack.scheduler.kill()
    stack.scheduler.start()
    tree.check()


@pytest.mark.soak
@pytest.mark.parametrize("point", ["before_commit", "after_commit", "after_publish"])
@pytest.mark.parametrize("number", [2, 5, 9, 14])
def test_a_scheduler_that_dies_around_a_commit_repeats_nothing_of_a_tree(
    stack: Stack, ledger: Ledger, point: str, number: int
) -> None:
    stack.scheduler.close()
    stack.scheduler.start(FLYWHEEL_FAULT=f"{point}:{number}")
    tree = Tree(stack, ledger, f"scheduler dies at {point}:{number} under a tree").submit()
    assert stack.scheduler.wait() == 86
    stack.scheduler.start()
    tree.check()


def test_flushall_under_a_tree_is_made_up_for_from_sql(stack: Stack, ledger: Ledger) -> None:
    tree = Tree(stack, ledger, "FLUSHALL under a tree").submit().when_begun(4)
    stack.redis.flush()
    tree.check(twice=IN_FLIGHT)


@pytest.mark.soak
def test_a_standby_on_postgres_takes_over_a_tree_and_repeats_nothing(postgres: Postgres, ledger: Ledger) -> None:
    with Stack(schedulers=2, database_url=postgres.new_database(), environment={LEDGER: str(ledger.path)}) as stack:
        tree = Tree(stack, ledger, "SIGKILL of the leader under a tree, standby on Postgres").submit().when_begun(3)
        leader = until(lambda: next((each for each in stack.schedulers if "shard.led" in each.said()), None), 5, "led")
        assert leader is not None
        leader.kill()
        tree.check()


@pytest.mark.soak
def test_a_tree_outlives_everything_that_dies_again_and_again(stack: Stack, ledger: Ledger) -> None:
    tree = Tree(stack, ledger, "everything dies three times under a tree").submit()
    for begun in (3, 9, 15):
        tree.when_begun(begun)
        stack.kill_everything()
        stack.redis.flush()
        for process in stack.processes:
            process.start()
    tree.check(twice=3 * IN_FLIGHT)


def test_a_retry_takes_over_what_whole_runs_gave(stack: Stack, ledger: Ledger, tmp_path: Path) -> None:
    flag = tmp_path / "broken"
    flag.touch()
    first = Tree(stack, ledger, "tree with a bad leaf", 0.02, str(flag)).submit()
    failed = stack.ended(first.run, 30)
    assert failed.state is RunState.FAILED
    first.check_each(RunState.SUCCEEDED, RunState.FAILED)
    assert sorted(view.depth or 0 for view in first.views() if view.state == "failed") == [0, 1, 2]
    flag.unlink()
    again = Tree(stack, ledger, "tree, retried", 0.02, str(flag), run=stack.client.retry(first.run))
    assert stack.ended(again.run, 30).state is RunState.SUCCEEDED
    assert stack.client.outputs(again.run) == {"groups": [outputs_of_group(values) for values in GROUPS]}
    runs = again.check_each(RunState.SUCCEEDED)
    assert len(runs) == 1 + (RUNS - 1) // len(GROUPS), "only the group that failed has runs of its own"
    stack.client.prune(0.0)
    for run in (*first.views(), *again.views()):
        with pytest.raises(NotFound):
            stack.client.run(run.id)


def test_results_of_a_batch_are_those_of_its_runs(stack: Stack, ledger: Ledger, tmp_path: Path) -> None:
    plan, items, target = tmp_path / "middle.yaml", tmp_path / "items.jsonl", tmp_path / "results.jsonl"
    flag = tmp_path / "broken"
    flag.touch()
    plan.write_text(yaml.safe_dump(middle(0.02, str(flag))))
    items.write_text("".join(json.dumps({"values": values}) + "\n" for values in GROUPS))
    told = flywheel(stack, "submit", str(plan), "--items", str(items))
    assert told.returncode == 0, told.stderr + told.stdout
    tree = Tree(stack, ledger, "batch of trees", run=stack.client.run("@last").id)
    stack.ended(tree.run, 30)
    tree.check_each(RunState.SUCCEEDED, RunState.FAILED)
    told = flywheel(stack, "runs", "results", tree.run, "--to", str(target))
    assert told.returncode == 0, told.stderr
    assert [json.loads(line) for line in target.read_text().splitlines()] == [
        {"index": 0, "output": outputs_of_group(GROUPS[0])}
    ]
    (error,) = [json.loads(line) for line in target.with_suffix(".errors.jsonl").read_text().splitlines()]
    assert (error["index"], error["state"], error["item"]) == (1, "failed", {"values": GROUPS[1]})
    assert "leaves" in error["error"]
