"""A user's tasks and plan, wired as they should be: mypy --strict has nothing to say."""

from __future__ import annotations

from dataclasses import dataclass

from engine.authoring import TaskContext, expand, plan, task


@dataclass
class Ticket:
    number: int
    text: str


@dataclass
class Verdict:
    ticket: int
    score: float


@task("typing.load", effects="none")
def load(folder: str, limit: int = 100) -> list[Ticket]:
    return [Ticket(number, folder) for number in range(limit)]


@task("typing.judge", effects="none", timeout="1m")
def judge(context: TaskContext, ticket: Ticket, strict: bool = False) -> Verdict:
    context.log.info("judging", ticket=ticket.number)
    return Verdict(ticket.number, 1.0 if strict else 0.5)


@task("typing.publish", effects="external", queue="io")
async def publish(verdicts: list[Verdict], channel: str) -> int:
    return len(verdicts)


@task("typing.shrug", effects="none")
def shrug() -> None:
    return None


@plan("typing-inner")
def inner(tickets: list[Ticket], strict: bool = False) -> list[Verdict]:
    return judge.map(tickets, strict=strict)


@plan("typing-better")
def better(text: str, previous: dict[str, float] | None = None) -> dict[str, float]:
    return {"score": judge(load(text)[0]).score}


@plan("typing-right", tags=["triage"], deadline="2h")
def right(folder: str, channel: str = "triage") -> dict[str, int]:
    tickets = load.options(retry={"attempts": 3})(folder, limit=10)
    verdicts = inner(tickets, strict=True)
    first = judge(tickets[0])
    told = publish.options(after=[first])([first, *verdicts], channel=channel)
    shrug.options(when=first.score > 0.5)()
    best = better.loop(until="output.score > 0.9", max_rounds=5, max_time="10m").options(name="best")("inbox")
    each = inner.map([tickets], strict=False)
    made = expand([judge, "typing.load"], max_steps=10)(each[0], folder=folder)
    publish(made, channel=str(best.output["score"]))
    return {"told": told, "first": first.ticket, "rounds": best.rounds}


def try_without_an_engine() -> int:
    return right("inbox")["told"] + len(judge.map([Ticket(1, "x")])) + len(judge.name)
