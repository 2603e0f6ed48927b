"""The same tasks, wired wrongly: mypy flags exactly the lines that end in a code."""

from __future__ import annotations

from engine.authoring import expand, plan, task
from tests.typing.right import Ticket, better, inner, judge, load, publish


@plan("typing-wrong")
def wrong(folder: str) -> dict[str, int]:
    tickets = load(folder, limt=10)  # call-arg
    more = load(3)  # arg-type
    verdict = judge(tickets)  # arg-type
    verdicts = judge.map(folder)  # arg-type
    numbers = judge.map([1, 2])  # list-item
    lenient = judge.map(more, strict="no")  # arg-type
    told: str = publish(verdicts, channel="x")  # assignment
    publish(lenient)  # call-arg
    publish(verdict, channel="x")  # arg-type
    print(verdict.socre)  # attr-defined
    inner(tickets, strict=1)  # arg-type
    inner()  # call-arg
    publish(numbers, channel=folder)
    best = better.loop(until="output.score > 0.9", max_rounds="5")  # arg-type
    print(best(3).output)  # arg-type
    print(best("x").result)  # attr-defined
    rounds: int = best("x").output  # assignment
    better.loop(until="output.score > 0.9")  # call-arg
    inner.map([3])  # list-item
    expand([3])  # list-item
    print(rounds)
    return {"told": told}  # dict-item


@task("typing.untyped", effects="nothing", queue=3)  # arg-type
def untyped(ticket: Ticket) -> int:
    return ticket.text  # return-value


@plan(3)  # arg-type
def misnamed() -> None:
    untyped.unknown()  # attr-defined
