"""Conversations that are too long: old tool results go, in chunks, the same for every call that comes after."""

from __future__ import annotations

import json
from itertools import pairwise
from typing import Any

import pytest

from engine.errors import Permanent
from engine.plan.local import LocalLog, local_context
from tasks.conversations import conversation_of, fitted

MODEL = "openai/gpt-4o"


def talk(turns: int) -> list[dict[str, Any]]:
    said: list[dict[str, Any]] = [
        {"role": "system", "text": "Help.", "stable": True},
        {"role": "user", "text": "Go on."},
    ]
    for turn in range(turns):
        call = {"id": f"c{turn}", "name": "look", "arguments": {"order": f"W{turn:05}"}}
        given = json.dumps({"order": f"W{turn:05}", "text": f"word{turn} " * 200})
        said += [{"role": "assistant", "calls": [call]}, {"role": "tool", "call_id": f"c{turn}", "text": given}]
    return [*said, {"role": "user", "text": "And now?"}]


def test_what_fits_is_sent_as_it_is() -> None:
    messages = conversation_of(talk(3))
    assert fitted(local_context("n"), messages, MODEL, 100_000) == (messages, 0)


def test_old_results_go_and_leave_what_they_named() -> None:
    context = local_context("n")
    sent, masked = fitted(context, conversation_of(talk(12)), MODEL, 100_000, 3000)
    results = [message for message in sent if message.role == "tool"]
    assert 0 < masked < 12 and len(sent) == len(talk(12))
    assert results[0].text.startswith("[result 1 left out") and "W00000" in results[0].text
    assert results[-1].text.count("word11") == 200
    assert isinstance(context.log, LocalLog)
    assert context.log.lines[-1][2]["masked"] == masked


def test_most_turns_begin_with_the_bytes_of_the_one_before() -> None:
    sent = [fitted(local_context("n"), conversation_of(talk(turns)), MODEL, 3000)[0][:-1] for turns in range(8, 30)]
    kept = sum(later[: len(earlier)] == earlier for earlier, later in pairwise(sent))
    assert kept >= 0.5 * (len(sent) - 1)


def test_what_cannot_be_made_to_fit_is_said() -> None:
    with pytest.raises(Permanent, match="with all old results masked"):
        fitted(local_context("n"), conversation_of(talk(12)), MODEL, 200)


@pytest.mark.parametrize(
    "message", [{"role": "root", "text": "x"}, {"role": "tool", "text": "x"}, {"role": "user"},
                {"role": "assistant", "calls": [{"id": "x"}]}],
)  # fmt: skip
def test_a_message_that_is_none_is_named(message: dict[str, Any]) -> None:
    with pytest.raises(Permanent, match="message 1"):
        conversation_of([message])
