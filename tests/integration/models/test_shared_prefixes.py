"""Nodes of a fan-out share what comes first: the provider reads it once and tells that it was kept."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from engine.models.service import Models
from engine.plan.local import local_context
from engine.plan.tasktype import TaskContext
from tasks.context import assemble
from tasks.llm import complete, extract
from tasks.llm_texts import classify
from tasks.llm_verdicts import judge
from tests.services.metered import Metered
from tests.services.models import Asked, Simulated, SimulatedModels

LONG = "what belongs here, said at some length so that there is something to share; " * 60


def said(asked: Asked) -> str | None:
    if "Classify" in asked.text:
        return json.dumps({"label": "bug", "confidence": 1, "reason": ""})
    return json.dumps({"score": 1, "reason": ""}) if "You judge" in asked.text else None


def sort(context: TaskContext, number: int) -> None:
    classify.task_type.function(context, text=f"Text {number}.", labels={"bug": LONG, "other": "anything"})


def read(context: TaskContext, number: int) -> None:
    extract.task_type.function(context, text=f"Text {number}.", schema={"type": "object"}, instructions=LONG)


def weigh(context: TaskContext, number: int) -> None:
    judge.task_type.function(context, text=f"Text {number}.", criterion=LONG)


def answer(context: TaskContext, number: int) -> None:
    complete.task_type.function(context, prompt=f"Question {number}?", pieces=[LONG, "Another piece."])


ROOMS = [
    f"# Room {number}\n\nRoom {number} is let for a fee of {number} coins a night, paid late.\n" for number in range(99)
]


def gather(context: TaskContext, number: int) -> None:
    sources = [{"text": "\n".join(ROOMS), "source": "rooms.md"}]
    made = assemble.task_type.function(
        context, question=f"Is room {number} let?", sources=sources, goal="What fee is paid, and when?",
        max_tokens=8000, model="simulated/small",
    )  # fmt: skip
    assert any(f"Room {number} is let" in each["text"] for each in made.messages)
    complete.task_type.function(context, messages=made.messages)


def test_questions_over_the_same_sources_share_what_their_goal_needs() -> None:
    cached, whole = asked_of(gather)
    assert cached > 0.45 * whole, (cached, whole)  # 0.53 of it is what the goal needs, less a part of a block


@pytest.mark.parametrize("node", [sort, read, weigh, answer])
def test_all_but_the_first_node_find_what_they_share_kept(node: Callable[[TaskContext, int], None]) -> None:
    cached, whole = asked_of(node)
    assert cached >= 0.8 * whole, (cached, whole)  # all but the last block before what is a node's own


def asked_of(node: Callable[[TaskContext, int], None]) -> tuple[int, int]:
    """Least that a node after the first read from the cache, and the input that it read in all."""
    with SimulatedModels({"small": Simulated(strength=0.9)}, answer=said, prefix_min=512) as server:
        metered = Metered(server.economy())
        models = metered.models()

        def service(kind: type[Any]) -> Any:
            assert kind is Models
            return models

        context = replace(local_context("node"), service=service)
        for number in range(5):
            node(replace(context, care=replace(context.care, model="simulated/small")), number)
        metered.parts.close()
        first, *others = server.log
        assert first.cached == 0
        assert metered.cost_nusd == server.billed_nusd()
        return min((each.cached, each.input) for each in others)
