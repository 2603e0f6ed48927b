"""Copies of stragglers on real processes: each on a worker of its own, the first result wins."""

from __future__ import annotations

from pathlib import Path

import pytest

from engine.learning.knowledge import Knowledge
from engine.scheduling.records import AttemptKind
from engine.store.learned import keep
from engine.store.views import AttemptView
from engine.wire import Outcome
from tests.integration.scale.conftest import Make
from tests.integration.scale.installation import Installation

TASK = "scale.straggles"


class Race:
    """A body that straggles on one worker, and its copy on another: each lasts until it is let go or told to stop."""

    def __init__(self, installation: Installation, folder: Path) -> None:
        self.installation, self.folder = installation, folder
        _know(installation)
        installation.scheduler()
        for _ in range(2):
            installation.worker(slots=1)
        installation.ready("io")
        installation.wait(lambda: len(installation.hot.workers()) == 2)
        files = {"said": str(folder / "said"), "release": str(folder / "go")}
        self.run = installation.submit({"odd": {"task": TASK, "with": files}}, "race")

    def both(self) -> dict[int, int]:
        """The process of either attempt, the straggler's first, once the scheduler knows that both run."""
        self.installation.wait(lambda: sum(each.begun_at is not None for each in self.attempts()) == 2)
        return self._said("begin")

    def stopped(self) -> dict[int, int]:
        """The process of each attempt that was told to stop."""
        return self._said("stop")

    def release(self, attempt: int) -> None:
        (self.folder / f"go-{attempt}").touch()

    def attempts(self) -> list[AttemptView]:
        return self.installation.client.store.attempts(self.run, 0, 0)

    def hedges(self) -> int:
        return sum(each.kind == "hedge" for each in self.installation.client.store.decisions(self.run))

    def result(self) -> int:
        (row,) = self.installation.client.store.node_results(self.run, 0, 0, 1).values()
        assert row.value is not None
        return int(row.value["v"])

    def _said(self, event: str) -> dict[int, int]:
        file = self.folder / "said"
        lines = [line.split() for line in file.read_text().splitlines()] if file.exists() else []
        return {int(attempt): int(pid) for said, attempt, pid in lines if said == event}


def _know(installation: Installation) -> None:
    """Bodies of the task usually take ten milliseconds."""
    known = Knowledge()
    known.observe_bodies("race", "odd", TASK, [0.01] * 40, 1.0)
    rows, _ = known.unstored(100)
    with installation.client.store.database.writing("durations") as connection:
        assert keep(connection, 0, 0, rows, ())


@pytest.fixture
def race(installation: Installation, tmp_path: Path) -> Race:
    return Race(installation, tmp_path)


@pytest.mark.parametrize("first", ["the copy", "the straggler"])
def test_the_first_result_wins_and_the_other_worker_is_told_to_stop(race: Race, first: str) -> None:
    pids = race.both()
    own, copy = pids
    assert pids[own] != pids[copy], "the copy runs elsewhere"
    winner, loser = (copy, own) if first == "the copy" else (own, copy)
    race.release(winner)
    assert race.installation.client.wait(race.run, 60).state.value == "succeeded"
    assert race.result() == pids[winner]
    race.installation.wait(lambda: race.stopped() == {loser: pids[loser]})
    made = {each.attempt: each for each in race.attempts()}
    assert {number: each.kind for number, each in made.items()} == {own: AttemptKind.PRIMARY, copy: AttemptKind.HEDGE}
    assert (made[winner].outcome, made[loser].outcome) == (Outcome.OK, Outcome.CANCELLED)
    assert race.hedges() == 1
    assert race.installation.client.store.audit(race.run) == []


@pytest.mark.parametrize("dies", ["the copy", "the straggler"])
def test_of_a_straggler_and_its_copy_either_worker_may_die(make: Make, tmp_path: Path, dies: str) -> None:
    race = Race(make(worker_lease_s=2.0, heartbeat_s=0.5), tmp_path)
    pids = race.both()
    own, copy = pids
    left, lost = (own, copy) if dies == "the copy" else (copy, own)
    (worker,) = [each for each in race.installation.processes if each.pid == pids[lost]]
    worker.kill()
    race.installation.wait(lambda: any(each.outcome is Outcome.LOST for each in race.attempts()))
    race.release(left)
    assert race.installation.client.wait(race.run, 60).state.value == "succeeded"
    assert race.result() == pids[left]
    made = {each.attempt: each.outcome for each in race.attempts()}
    assert (made[left], made[lost]) == (Outcome.OK, Outcome.LOST)
    assert race.installation.client.store.audit(race.run) == []
