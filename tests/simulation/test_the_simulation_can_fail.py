"""A simulation that cannot fail shows nothing: the engine is broken on purpose, and each time it is noticed.

Each mutation leaves out one thing that an invariant rests on. The worlds are those in which it counts.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from engine.errors import Unavailable
from engine.runtime.budgets import Accounting
from engine.runtime.children import Children
from engine.runtime.inflight import Inflight
from engine.runtime.leader import Leader
from engine.runtime.outbox import Outbox
from engine.scheduling import attempts, bets, commands, core, hedges, nearness, prefetches, restoring, steps, wagers
from engine.scheduling.events import Cascaded, PermitsRevoked
from engine.scheduling.joins import JoinVerdict
from engine.scheduling.prefetches import Prefetches
from engine.scheduling.records import Begun, RunChanged
from engine.scheduling.turn import Turn
from tests.simulation.driver import Violation
from tests.simulation.journal import SimJournal
from tests.simulation.redis import SimRedis
from tests.simulation.simulation import simulate

Patch = pytest.MonkeyPatch
_MOST = 300


def skip_the_fence(patch: Patch) -> None:
    patch.setattr(SimJournal, "_fence", lambda journal, epoch: None)


def accept_stale_attempts(patch: Patch) -> None:
    def reported(turn: Any, run: Any, no: int, report: Any, *more: Any) -> bool:
        active = run.active.get((no, report.item))
        if active is not None:
            active.attempt = report.attempt
        return kept(turn, run, no, report, *more)

    kept = attempts.reported
    patch.setattr(attempts, "reported", reported)


def publish_before_the_commit(patch: Patch) -> None:
    def dispatch(leader: Leader, most: int) -> int:
        sent = kept(leader, most)
        with contextlib.suppress(Unavailable):
            leader._inflight.send()
        return sent

    kept = Leader._dispatch
    patch.setattr(Leader, "_dispatch", dispatch)


def do_not_ask_for_the_permit_at_begin(patch: Patch) -> None:
    patch.setattr(SimRedis, "begin", lambda *told: True)


def drop_a_retry(patch: Patch) -> None:
    patch.setattr(core.attempts, "ready_again", lambda turn, run, no, item: None)


def repeat_a_lost_external_body(patch: Patch) -> None:
    patch.setattr(attempts, "_is_not_its_fault", lambda outcome: False)
    patch.setattr(attempts, "_after_failure", lambda *told: (0.0, ""))


def forget_restored_attempts(patch: Patch) -> None:
    patch.setattr(restoring, "_restore_attempt", lambda turn, run, row: None)


def acknowledge_before_the_commit(patch: Patch) -> None:
    def commit(leader: Leader) -> bool:
        with contextlib.suppress(Unavailable):
            leader._world.hot.delete_reports(0, leader._intake.unacknowledged)
        return kept(leader)

    kept = Leader._commit
    patch.setattr(Leader, "_commit", commit)


def tell_that_permits_are_gone_before_they_are(patch: Patch) -> None:
    def revoke(inflight: Inflight, run: Any, living: Any = frozenset()) -> Any:
        return PermitsRevoked(run.id, frozenset(run.active))

    patch.setattr(Inflight, "revoke", revoke)


def never_publish_again(patch: Patch) -> None:
    patch.setattr(Outbox, "missing", lambda outbox, lengths, now: [])


def publish_again_at_every_look(patch: Patch) -> None:
    patch.setattr(Outbox, "_is_missing", lambda outbox, sent, now: True)


def believe_every_delivery(patch: Patch) -> None:
    patch.setattr(Leader, "_credible", lambda leader, event: True)


def start_with_an_open_join(patch: Patch) -> None:
    patch.setattr(steps, "judge", lambda run, no: JoinVerdict.HOLDS)


def never_give_a_silent_worker_up(patch: Patch) -> None:
    patch.setattr(Outbox, "silent", lambda outbox, now, lease_s: [])


def keep_a_partial_result_secret(patch: Patch) -> None:
    record = Turn.record

    def told(turn: Turn, entry: Any) -> None:
        record(turn, replace(entry, partial=False) if isinstance(entry, RunChanged) else entry)

    patch.setattr(Turn, "record", told)


def grant_before_the_mark_is_stored(patch: Patch) -> None:
    record = Turn.record

    def told(turn: Turn, entry: Any) -> None:
        if not isinstance(entry, Begun):
            record(turn, entry)

    patch.setattr(Turn, "record", told)


def let_a_frozen_scheduler_write_permits(patch: Patch) -> None:
    patch.setattr(SimRedis, "leads", lambda redis, leader: True)


def let_the_runs_below_a_cancelled_run_go_on(patch: Patch) -> None:
    def take(children: Children) -> list[Any]:
        return [event for event in kept(children) if not isinstance(event, Cascaded)]

    kept = Children.take
    patch.setattr(Children, "take", take)
    patch.setattr(Children, "living", lambda children, run: ())


def believe_what_was_sent_ahead(patch: Patch) -> None:
    patch.setattr(attempts, "comes_too_soon", lambda run, no: False)
    patch.setattr("engine.runtime.inflight.may_be_sent", lambda run, placement, placed: True)


def adopt_before_the_condition_is_known(patch: Patch) -> None:
    def known(turn: Turn, run: Any, event: Any) -> None:
        kept(turn, run, replace(event, holds=event.holds or event.step_no in run.bet_at))

    kept = commands.condition_known
    patch.setattr(commands, "condition_known", known)


def bet_on_what_does_harm(patch: Patch) -> None:
    kept = wagers.may_bet
    patch.setattr(bets, "may_bet", lambda plan, no: plan.steps[no].when is not None or kept(plan, no))
    patch.setattr(wagers, "_basis", lambda run, step: ([step.parents[0]], None) if step.parents else None)


def copy_an_external_body(patch: Patch) -> None:
    patch.setattr(hedges, "may_be_copied", lambda step: not (step.child or step.pools or step.max_parallel))


def copy_while_primary_attempts_wait(patch: Patch) -> None:
    def own_queue(turn: Any, run: Any, no: int, room: Any, busy: Any) -> str | None:
        return None if run.step(no).task in room.tokens else str(run.queue(no))

    patch.setattr(hedges, "_idle_queue", own_queue)


def read_ahead_of_what_changes_things(patch: Patch) -> None:
    def above(run: Any, no: int) -> list[int]:
        return [parent for parent in run.step(no).parents if not run.steps[parent].state.final]

    patch.setattr(nearness, "_quiet_above", above)


def read_ahead_while_primary_attempts_wait(patch: Patch) -> None:
    patch.setattr(prefetches, "_ready_for", lambda turn, room: False)
    patch.setattr(prefetches, "spare_slots", lambda *told: (100, 100))


def tell_twice_what_a_prefetch_came_to(patch: Patch) -> None:
    patch.setattr(Prefetches, "_close", lambda ahead, turn, fetch: ahead._release(turn, fetch))


def forget_what_was_spent_when_redis_is_lost(patch: Patch) -> None:
    patch.setattr(Accounting, "_sums", lambda accounting, accounts, now: {})


def leave_what_dead_workers_held_out_of_the_books(patch: Patch) -> None:
    patch.setattr(Accounting, "_found", lambda accounting, accounts: [])


MUTATIONS: tuple[Callable[[Patch], None], ...] = (
    skip_the_fence, accept_stale_attempts, publish_before_the_commit, do_not_ask_for_the_permit_at_begin, drop_a_retry,
    repeat_a_lost_external_body, forget_restored_attempts, acknowledge_before_the_commit,
    tell_that_permits_are_gone_before_they_are, never_publish_again,
    publish_again_at_every_look, believe_every_delivery, start_with_an_open_join, never_give_a_silent_worker_up,
    let_a_frozen_scheduler_write_permits, keep_a_partial_result_secret, grant_before_the_mark_is_stored,
    let_the_runs_below_a_cancelled_run_go_on, believe_what_was_sent_ahead,
    adopt_before_the_condition_is_known, bet_on_what_does_harm,
    copy_an_external_body, copy_while_primary_attempts_wait,
    read_ahead_of_what_changes_things, read_ahead_while_primary_attempts_wait, tell_twice_what_a_prefetch_came_to,
    forget_what_was_spent_when_redis_is_lost, leave_what_dead_workers_held_out_of_the_books,
)  # fmt: skip


WORLDS: dict[Callable[[Patch], None], tuple[int, frozenset[str] | None]] = {
    accept_stale_attempts: (300, None),
    publish_again_at_every_look: (580, None),
    adopt_before_the_condition_is_known: (210, None),
    let_a_frozen_scheduler_write_permits: (220, frozenset({"freeze_scheduler", "slow_call"})),
    forget_what_was_spent_when_redis_is_lost: (120, frozenset({"redis_flush"})),
    leave_what_dead_workers_held_out_of_the_books: (0, frozenset({"kill_worker", "lose_child"})),
    believe_every_delivery: (
        740,
        frozenset({"slow_call", "lost_request", "late_message", "doubled_message", "freeze_scheduler"}),
    ),
}
"""First seed and faults of the worlds in which a rare mutation counts."""


@pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda mutation: mutation.__name__)
def test_a_broken_engine_is_noticed(mutation: Callable[[Patch], None], monkeypatch: Patch) -> None:
    first, faults = WORLDS.get(mutation, (0, None))
    mutation(monkeypatch)
    for seed in range(first, first + _MOST):
        try:
            simulate(seed, only=faults)
        except Violation as violation:
            assert isinstance(violation.__cause__, Violation), "the mutation broke more than it was meant to"
            print(f"noticed at seed {seed}: {violation}")
            return
    pytest.fail(f"nobody noticed in {_MOST} worlds")
