"""What is told of how nodes go out: in words, with figures, and a bounded number of times."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from engine.dag.compiled import CompiledStep
from engine.scheduling.decisions import MOST
from engine.scheduling.events import Chunk
from engine.scheduling.outstanding import Room
from engine.scheduling.records import Decision
from tests.unit.scheduling.worlds import ROOM, OneRun, plan_of, step


def fanned(no: int, count: int, **more: Any) -> CompiledStep:
    return replace(step(no), for_each=list(range(count)), **more)


class Told(OneRun):
    """One run, and what was told of its dispatch."""

    def __init__(self, *steps: CompiledStep) -> None:
        self.told: list[Decision] = []
        super().__init__(plan_of(*steps))

    def send_chunks(self, room: Room = ROOM, most: int = 1000) -> list[Chunk]:
        chunks, verdict = self.core.dispatch(room, self.now, most)
        self._keep(verdict)
        self.told += [record for record in verdict.records if isinstance(record, Decision)]
        return chunks

    def of(self, kind: str) -> list[Decision]:
        return [decision for decision in self.told if decision.kind == kind]


def test_the_first_size_of_a_message_is_told_and_a_much_larger_one_too() -> None:
    run = Told(fanned(0, 10_000))
    out = run.send()
    for placement in out:
        run.end(placement)
    run.send()
    first, second = run.of("chunk")
    assert first.reason == "one node a message: nobody knows yet how long one takes"
    assert first.figures["size"] == 1
    assert (first.step_no, first.item) == (0, None)
    assert second.reason.startswith(
        f"{second.figures['size']} nodes a message, so that every slot gets some: one takes"
    )
    assert second.figures["before"] == 1


def test_which_step_goes_first_is_told_with_both_ranks() -> None:
    run = Told(step(0), step(1), step(2), step(3, 1), step(4, 3), step(5, 2))
    run.send()
    first, second = run.of("order")
    assert first.step_no == 1
    assert first.reason == (
        "goes before s2 and 1 more: from here to the end of the run it takes about 3 s, from s2 about 2 s"
    )
    assert second.figures == {"rank_s": 2.0, "next_rank_s": 1.0, "rivals": 1}


def test_what_holds_ready_nodes_back_is_told_once_for_each_cause() -> None:
    run = Told(fanned(0, 10, max_parallel=2), fanned(1, 10, pools=("gpu",)))
    for _ in range(3):
        run.send(Room(slots={"io": 10}, pools={"gpu": 0}))
    assert {decision.reason for decision in run.of("hold")} == {
        "waits: 2 of its nodes are out, and max_parallel is 2",
        "waits: no slot of pool gpu is free",
    }
    assert len(run.of("hold")) == 2


def test_a_full_window_a_missing_worker_and_a_paused_queue_are_told_apart() -> None:
    full, alone, paused = (Told(fanned(0, 100)) for _ in range(3))
    for _ in range(2):
        full.send()
        alone.send(Room(slots={}))
        paused.send(Room(slots={"io": 10}, paused=frozenset({"io"})))
    assert [hold.figures["cause"] for run in (full, alone, paused) for hold in run.of("hold")] == [
        "window", "no worker", "paused",
    ]  # fmt: skip
    alone.send()
    assert alone.of("hold")[-1].reason == (
        "waits: queue io has 50 attempts out, as much as 10 slots do in 5 s or hold in hand"
    )


def test_a_run_of_very_many_steps_tells_no_more_than_its_share() -> None:
    run = Told(*(step(no) for no in range(3 * MOST)))
    run.core.runs["r"].ranks = [3.0 * MOST - no for no in range(3 * MOST)]
    while run.send(Room(slots={"io": 1000})):
        pass
    assert len(run.told) == MOST
