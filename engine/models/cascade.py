"""From one model to the next while checks fail: bounded, and each is told what was wrong with the answer before.

Knows no prompts, prices or checks: choosing, asking and looking come in. A result that fails for want of context
gets more of it before another model is asked.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

from engine.models.checks import Verdict
from engine.models.choosing import Choice
from engine.models.request import Message

_SHOWN = 8000


class _Answered(Protocol):
    @property
    def text(self) -> str: ...


A = TypeVar("A", bound=_Answered)


@dataclass(frozen=True, slots=True)
class Tried(Generic[A]):
    """One answer, who gave it, and what its checks say."""

    choice: Choice
    answer: A
    verdict: Verdict


def cascade(
    choose: Callable[[tuple[str, ...]], Choice],
    ask: Callable[[Choice, Sequence[Tried[A]]], A],
    look: Callable[[A], Verdict],
    escalations: int,
    widen: Callable[[], bool] = lambda: False,
) -> list[Tried[A]]:
    """Answers in the order in which they were asked for; the last one is the result, which may not pass.

    Parameters
    ----------
    choose
        Takes the ids that were tried; gives the next model, or a local one if there is no other.
    ask
        Takes the model, and what was tried before it.
    escalations
        How many further models may be asked; 0 where one is pinned.
    widen
        Widens the context; whether there was more.
    """
    tried: list[Tried[A]] = []
    choice, left = choose(()), escalations
    while True:
        answer = ask(choice, tried)
        tried.append(Tried(choice, answer, look(answer)))
        verdict = tried[-1].verdict
        if verdict.passed is not False:
            return tried
        if verdict.needs_context and widen():
            continue
        if left <= 0:
            return tried
        left -= 1
        following = choose(tuple(dict.fromkeys(each.choice.model.id for each in tried)))
        if following.model.local:
            return tried  # a free model knows no better
        choice = following


def told(tried: Sequence[Tried[A]]) -> tuple[Message, ...]:
    """What the next model is told of the last answer that failed: the answer, and why it cannot be used."""
    if not tried:
        return ()
    last = tried[-1]
    again = (
        f"That answer was checked and does not pass: {last.verdict.why or 'it failed its check'}\n"
        "Answer what was asked again, anew and whole, in the same form. Do not mention this check."
    )
    return (Message("assistant", last.answer.text[:_SHOWN] or "(nothing)"), Message("user", again))
