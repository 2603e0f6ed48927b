"""Conversations with tools: the same prefix from call to call, results masked in chunks where that pays."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.context.history import History, Rates
from engine.errors import UsageError
from engine.models.request import Message

GPT = "openai/gpt-4o"
SYSTEM = Message("system", "Be brief.", stable=True)


def _result(number: int, length: int = 300) -> Message:
    return Message("tool", f"order A{number}7Z of user_{number} " + f"filler{number} words " * length)


def _turns(
    history: History, turns: int, length: int = 300, calls_left: float | None = None
) -> list[tuple[Message, ...]]:
    history.add(SYSTEM)
    sent = []
    for number in range(turns):
        history.add(Message("user", f"question {number}"))
        sent.append(history.messages(calls_left))
        history.add(Message("assistant", f"answer {number}"))
        history.add(_result(number, length), "look_up")
    return sent


@given(st.lists(st.sampled_from([5, 50, 400]), min_size=1, max_size=25), st.integers(0, 3))
def test_every_call_begins_with_the_call_before_unless_a_chunk_was_masked(lengths: list[int], keep: int) -> None:
    history = History(GPT, keep=keep)
    history.add(SYSTEM)
    before: tuple[Message, ...] = ()
    maskings = 0
    for number, length in enumerate(lengths):
        history.add(_result(number, length), "look_up")
        sent = history.messages()
        if history.maskings == maskings:
            assert sent[: len(before)] == before
        maskings, before = history.maskings, sent
        assert sent[0] == SYSTEM


def test_a_long_conversation_masks_in_few_chunks_and_pays_less_than_one_that_never_does() -> None:
    rates = Rates()

    def bill(sent: list[tuple[Message, ...]]) -> float:
        cost, before = 0.0, ()
        for messages in sent:
            same = next((at for at, pair in enumerate(zip(messages, before, strict=False)) if pair[0] != pair[1]), None)
            same = min(len(messages), len(before)) if same is None else same
            cost += rates.read * sum(len(each.text) for each in messages[:same])
            cost += rates.write * sum(len(each.text) for each in messages[same:])
            before = messages
        return cost

    ours, never = History(GPT), History(GPT, keep=10_000)
    paid, unmasked = bill(_turns(ours, 100)), bill(_turns(never, 100))
    assert 0 < ours.maskings <= 20
    assert never.maskings == 0
    assert paid < unmasked / 2


def test_a_masked_result_keeps_the_names_in_it_and_can_be_had_again() -> None:
    history = History(GPT, keep=0)
    _turns(history, 3, calls_left=100.0)
    sent = history.messages(calls_left=100.0)
    assert sent[3].text == "[result 1 left out; it named: A07Z, user_0, filler0]"
    assert history.recall(1) == _result(0).text.strip()
    with pytest.raises(IndexError):
        history.recall(0)


def test_the_last_call_masks_nothing() -> None:
    history = History(GPT)
    _turns(history, 5, calls_left=1.0)
    assert history.maskings == 0


def test_a_limit_is_kept_by_masking_well_below_it_so_that_the_next_turn_need_not() -> None:
    history = History(GPT, max_tokens=4000)
    sent = _turns(history, 40, length=100)
    assert history.tokens <= 4000 + 600
    assert 1 <= history.maskings <= 12
    assert len(sent) == 40


def test_a_conversation_that_is_too_long_without_its_results_is_refused() -> None:
    history = History(GPT, max_tokens=50)
    history.add(Message("user", "word " * 100))
    with pytest.raises(UsageError, match="too long"):
        history.messages()


def test_results_lose_their_blanks_and_what_was_said_before() -> None:
    history = History(GPT)
    rows = json.dumps([{"id": number, "name": "some longer name here"} for number in range(5)], indent=2)
    history.add(Message("tool", rows))
    history.add(Message("tool", rows))
    first, second = history.messages()
    assert json.loads(first.text)["same"] == {"name": "some longer name here"}
    assert second.text == "[the same as result 1]"
    assert history.recall(2) == first.text
