"""How much one turn of the scheduler takes on."""

from __future__ import annotations

import pytest

from engine.runtime.tempo import ALONE_S, SHARED_S, SHARED_TURNS, Patience, Tempo


def _used_to(node_s: float, turn_s: float = 0.0) -> Tempo:
    """A tempo that has seen many turns in which each node took so long, beside what a turn costs by itself."""
    tempo = Tempo(10_000)
    for _ in range(100):
        nodes = tempo.nodes(1)
        tempo.took(turn_s + nodes * node_s, nodes)
    return tempo


def test_a_turn_takes_on_what_it_gets_through_in_some_tens_of_milliseconds() -> None:
    tempo = _used_to(0.00005, turn_s=0.004)
    assert tempo.nodes(1) * 0.00005 == pytest.approx(ALONE_S, rel=0.1)
    assert tempo.nodes(2) * 0.00005 == pytest.approx(SHARED_S, rel=0.1)


def test_a_slow_machine_still_shares_a_turn_among_a_hundred_nodes() -> None:
    assert _used_to(0.01).nodes(2) == 100


def test_what_a_turn_costs_by_itself_does_not_make_turns_smaller_and_smaller() -> None:
    assert _used_to(0.00005, turn_s=0.01).nodes(1) > 300


def test_no_turn_takes_on_more_than_it_may() -> None:
    assert Tempo(80).nodes(1) == 80
    assert Tempo(80).at_least(0) == 80


def test_a_full_turn_sends_a_few_in_any_case_and_fewer_while_there_is_plenty_out() -> None:
    tempo = Tempo(1000)
    assert (tempo.at_least(10), tempo.at_least(5000)) == (100, 20)


def test_a_run_that_had_company_lately_has_the_short_turns_of_one_that_has() -> None:
    tempo = _used_to(0.00005)
    alone = tempo.nodes(1)
    tempo.took(0.01, 10, runs=2)
    assert tempo.nodes(1) == tempo.nodes(2) < alone
    for _ in range(SHARED_TURNS):
        tempo.took(0.01, 10)
    assert tempo.nodes(1) == alone


def test_no_more_than_a_quarter_of_the_time_is_spent_waiting_for_light_runs() -> None:
    patience, now, waited_s = Patience(), 0.0, 0.0
    while now < 100.0:
        patience.sent(0.001)
        put_off_s = patience.take(now)
        patience.spent(put_off_s)
        waited_s += put_off_s
        now += put_off_s + 0.002
    assert 24.0 < waited_s < 26.0
