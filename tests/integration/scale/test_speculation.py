"""Bets on real processes: adopted, dropped, decided while they run, cancelled, and left by a killed scheduler."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from engine.learning.knowledge import Knowledge
from engine.scheduling.records import AttemptKind
from engine.scheduling.wagers import guess_path
from engine.store.learned import keep
from engine.wire import Outcome
from tests.benchmarks.ours import plan_of
from tests.integration.scale.installation import Installation

TASK = "scale.until"
QUEUES = "io,speculative"


class Branch:
    """``ask`` lasts until it is let go, and so does ``act``, which is done only if the condition holds."""

    def __init__(self, installation: Installation, folder: Path) -> None:
        self.installation, self.folder = installation, folder
        _know(installation)
        self.scheduler = installation.scheduler()
        installation.worker(queues=QUEUES)
        installation.ready("io", "speculative")

    def start(self, *, holds: bool = True, guess: str | None = None) -> str:
        act: dict[str, Any] = {"task": TASK, "with": self.files("act")}
        ask: dict[str, Any] = {"task": TASK, "with": self.files("ask")}
        steps = {"ask": ask, "act": act}
        if guess is None:
            act["when"] = "steps.ask.output != '' and inputs.holds"
        else:
            ask["guess"] = "cheap"
            steps["cheap"] = {"task": "scale.nothing", "with": {"value": guess}}
            act |= {"task": "scale.nothing", "with": {"value": "{{ steps.ask.output }}"}}
        plan = plan_of(steps, "branch", ("holds",), value_of_time_usd_per_h=100.0, outputs="{{ steps.act.output }}")
        self.run = self.installation.client.submit(plan, {"holds": holds})
        return self.run

    def files(self, step: str) -> dict[str, str]:
        return {"begun": str(self.folder / f"{step}.begun"), "release": str(self.folder / f"{step}.go")}

    def begun(self, step: str) -> int:
        file = self.folder / f"{step}.begun"
        return len(file.read_text().splitlines()) if file.exists() else 0

    def release(self, step: str) -> None:
        (self.folder / f"{step}.go").touch()

    def wait(self, holds: Callable[[], Any]) -> None:
        assert self.installation.wait(holds), self.installation.said()

    def ended(self) -> Any:
        return self.installation.client.wait(self.run, 60)

    def bets(self, step: str = "act") -> list[Outcome | None]:
        """What became of the bets on a step."""
        store = self.installation.client.store
        (no,) = [each.step_no for each in store.steps(self.run) if each.path == step]
        return [made.outcome for made in store.attempts(self.run, no, 0) if made.kind == AttemptKind.SPECULATIVE]

    def states(self) -> dict[str, str]:
        return {each.path: each.state.value for each in self.installation.client.store.steps(self.run)}

    def told(self) -> list[str]:
        decisions = self.installation.client.store.decisions(self.run)
        return [each.reason.split(":")[0] for each in decisions if each.kind == "speculate"]

    def clean(self) -> None:
        assert self.installation.client.store.audit(self.run) == []


def _know(installation: Installation) -> None:
    known = Knowledge()
    for path, task in (("ask", TASK), ("act", TASK), ("act", "scale.nothing"), ("cheap", "scale.nothing")):
        known.observe_bodies("branch", path, task, [60.0] * 20, 1.0)
    for path in ("act", guess_path("ask")):
        known.observe_branch("branch", path, 20, 0, 1.0)
    rows, _ = known.unstored(100)
    with installation.client.store.database.writing("odds") as connection:
        assert keep(connection, 0, 0, rows, ())


@pytest.fixture
def branch(installation: Installation, tmp_path: Path) -> Branch:
    return Branch(installation, tmp_path)


@pytest.mark.parametrize("holds", [True, False])
def test_a_bet_that_is_done_is_adopted_if_the_condition_holds_and_dropped_if_not(branch: Branch, holds: bool) -> None:
    branch.start(holds=holds)
    branch.wait(lambda: branch.begun("ask") and branch.begun("act"))
    branch.release("act")
    branch.release("ask")
    assert branch.ended().state.value == "succeeded"
    assert branch.states()["act"] == ("succeeded" if holds else "skipped")
    assert branch.begun("act") == 1
    assert branch.told() == ["started", "adopted" if holds else "dropped"]
    assert (branch.bets() == [Outcome.OK]) is holds
    branch.clean()


def test_a_bet_that_runs_when_its_condition_proves_true_goes_on_as_the_nodes_own(branch: Branch) -> None:
    branch.start()
    branch.wait(lambda: branch.begun("ask") and branch.begun("act"))
    branch.release("ask")
    branch.wait(lambda: branch.told() == ["started", "adopted"])
    branch.release("act")
    assert branch.ended().state.value == "succeeded"
    assert (branch.begun("act"), branch.bets()) == (1, [Outcome.OK])
    branch.clean()


def test_a_cancelled_run_stops_its_bets(branch: Branch) -> None:
    run = branch.start()
    branch.wait(lambda: branch.begun("ask") and branch.begun("act"))
    branch.installation.client.cancel(run)
    assert branch.ended().state.value == "cancelled"
    (outcome,) = branch.bets()
    assert outcome not in (None, Outcome.OK)
    branch.clean()


def test_a_bet_ends_with_its_scheduler_and_the_run_gives_the_same(branch: Branch) -> None:
    branch.start()
    branch.wait(lambda: branch.begun("ask") and branch.begun("act"))
    branch.scheduler.kill()
    branch.installation.scheduler()
    branch.wait(lambda: branch.begun("act") == 2)
    branch.release("act")
    branch.release("ask")
    assert branch.ended().state.value == "succeeded"
    assert branch.bets()[0] is not Outcome.OK
    branch.clean()


@pytest.mark.parametrize("right", [True, False])
def test_what_follows_a_guess_counts_only_if_it_was_right(branch: Branch, right: bool) -> None:
    run = branch.start(guess="ask" if right else "something else")
    branch.wait(lambda: branch.told() == ["started"])
    branch.release("ask")
    assert branch.ended().state.value == "succeeded"
    assert branch.installation.client.outputs(run) == "ask"
    assert branch.told() == ["started", "adopted" if right else "dropped"]
    assert (branch.bets() == [Outcome.OK]) is right
    branch.clean()
