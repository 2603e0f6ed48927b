"""What becomes of a run whose budget is used up: it stops, asks an operator, or goes on cheaper.

The choice is the plan's, the installation's, or what an operator answered. Each is told once, with figures.
A limit of a run above is that run's to decide on, and binds all below it.
``stop`` finishes what is paid: nodes whose calls are refused end as skipped, the others go on. ``ask`` pauses the
run, so that it holds no slot, until there is an answer or none in time. ``cheaper`` lets what follows be done by
less, and stops where that is refused too. A limit that has room again by itself is waited for and decides nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from engine.errors import Conflict
from engine.scheduling.records import (
    WAITS_FOR_APPROVAL,
    BudgetChanged,
    Decision,
    NodesSkipped,
    NodeState,
    RunChanged,
    RunState,
)
from engine.scheduling.state import NODE_CODES, Active, LiveRun, RunBudget
from engine.scheduling.steps import ask_page
from engine.scheduling.turn import BUDGET_ANSWER, Turn
from engine.wire import NodeReport

OVER_BUDGET = "over budget: "
"""How the reason of a node begins that was not done because its budget was used up."""
CHEAPER_MOST = 2
_MOST_NUSD = 10**18
_LIMITS = {"max_tokens": int, "max_calls": int, "max_time": float}
_MOST = 10**12
"""Of any limit that an operator may allow: counters are exact that far, in milliseconds too."""
_AGAIN_S = 1.0
_ONE_ATTEMPT = "attempt"


def met(turn: Turn, run: LiveRun, no: int, report: NodeReport, active: Active) -> tuple[float | None, str]:
    """Seconds until the node whose call was refused comes again, or ``None`` and why it does not."""
    error = report.error
    facts = dict(error.facts or {}) if error is not None else {}
    why = error.message if error is not None else "a limit is used up"
    if facts.get("passing"):
        return max(_AGAIN_S, error.delay_s or 0.0) if error is not None else _AGAIN_S, ""
    if facts.get("scope") == _ONE_ATTEMPT:
        return None, why
    line = _line(turn, run, str(facts.get("scope", "")))
    owner, place = line[-1], no if len(line) == 1 else None
    if not (run.budget.stopped or owner.budget.stopped):
        choice = _choice(turn, owner)
        if choice == "ask" and owner.state in (RunState.RUNNING, RunState.PAUSED):
            if owner.budget.asked is None:
                _ask(turn, owner, place, why, facts)
            elif owner.state is RunState.RUNNING:
                _pause(turn, owner, why)  # it was resumed with a run above it, and nobody has answered
            return 0.0, ""
        if choice == "cheaper":
            if active.dispatched_at <= owner.budget.cheaper_since:
                return 0.0, ""  # it went out before that was decided
            if owner.budget.cheaper < CHEAPER_MOST:
                _go_cheaper(turn, owner, place, why, facts)
                return 0.0, ""
    for each in line:
        if not each.budget.stopped:
            _stop(turn, each, no if each is run else None, why, facts)
    return None, f"{OVER_BUDGET}{why}"


def leave_rest(turn: Turn, run: LiveRun, no: int, why: str) -> None:
    """A node of a stopped run was refused: those of its step that never went out are not sent to hear the same."""
    progress = run.steps[no]
    rest = [item for item in range(progress.cursor, progress.page_end) if not progress.finals[item]]
    progress.cursor = max(progress.cursor, progress.page_end)
    if rest:
        turn.record(NodesSkipped(run.id, no, tuple(rest), NodeState.SKIPPED, turn.now, why))
        for item in rest:
            progress.finals[item] = NODE_CODES[NodeState.SKIPPED]
        progress.skipped += len(rest)
    ask_page(turn, run, no)


def approve(turn: Turn, run: LiveRun, arguments: Mapping[str, Any]) -> None:
    """An operator lets the run go on, perhaps with another limit; ``Conflict`` if it did not ask or that is none."""
    asked = _asked(run)
    most = arguments.get("max_nusd")
    if most is not None and not 0 < most <= _MOST_NUSD:  # stored, it would break every delivery of the run
        raise Conflict(f"a limit on spend is more than $0 and at most a billion, not {most} nano-dollars")
    told = {name: made(arguments[name]) for name, made in _LIMITS.items() if arguments.get(name) is not None}
    for name, value in told.items():
        if not 0 < value <= _MOST:
            raise Conflict(f"{name} is more than 0 and at most {_MOST:,}, not {value:,}")
    limits = {**run.budget.limits, **told}
    _set(turn, run, asked=None, max_nusd=run.budget.max_nusd if most is None else int(most), limits=limits)
    figures = {"answer": "approved", "max_nusd": most, **told, "asked": asked}
    _tell(turn, run, None, "approved by an operator", figures)


def reject(turn: Turn, run: LiveRun, arguments: Mapping[str, Any]) -> None:
    """An operator does not let the run spend more: it stops. Raises ``Conflict`` if it did not ask."""
    asked = _asked(run)
    why = str(arguments.get("reason") or "an operator rejected a higher limit")
    _set(turn, run, asked=None, choice="stop")
    _tell(turn, run, None, why, {"answer": "rejected", "asked": asked})


def check_answered(run: LiveRun) -> None:
    """Raise ``Conflict`` if the run waits for an answer: resumed without one, its calls would be refused for ever."""
    if run.budget.asked is not None:
        raise Conflict(
            f"run {run.id} waits for an answer about its budget: flywheel approvals approve {run.id} [--max-usd USD, "
            f"--max-calls N, --max-tokens N, --max-time DURATION], or flywheel approvals reject {run.id}"
        )


def unanswered(turn: Turn, run: LiveRun) -> bool:
    """Nobody answered in time: whether the run goes on from here, as its plan says for that."""
    asked = run.budget.asked
    if asked is None or asked.get("until") is None or turn.now < asked["until"]:
        return False
    choice = str(_clause(turn, run).get("on_timeout", "stop"))
    _set(turn, run, asked=None, choice=choice)
    _tell(turn, run, None, f"nobody answered in time: {choice}", {"answer": "none", "then": choice, "asked": asked})
    return True


def restored(turn: Turn, run: LiveRun) -> None:
    """Another scheduler took the run over: go on waiting for the answer."""
    if run.budget.asked is not None and run.budget.asked.get("until") is not None:
        turn.timers.add(run.budget.asked["until"], run.id, *BUDGET_ANSWER)


def _line(turn: Turn, run: LiveRun, scope: str) -> list[LiveRun]:
    """The run, and those above it up to the one whose limit is met; the run alone if the limit is no other run's."""
    line = [run]
    while f"run/{line[-1].id}" != scope:
        above = turn.runs.get(line[-1].parent or "")
        if above is None:
            return [run]
        line.append(above)
    return line


def _ask(turn: Turn, run: LiveRun, no: int | None, why: str, facts: dict[str, Any]) -> None:
    timeout_s = _clause(turn, run).get("ask_timeout")
    if timeout_s is None and run.plan.budget is not None:
        timeout_s = turn.policy.run_budget.get("plan_ask_timeout")
    until = None if timeout_s is None else turn.now + float(timeout_s)
    _set(turn, run, asked={"at": turn.now, "until": until, "why": why, **facts})
    if until is not None:
        turn.timers.add(until, run.id, *BUDGET_ANSWER)
    _tell(turn, run, no, f"waits for an operator: {why}", {"choice": "ask", "until": until, **facts})
    if run.state is RunState.RUNNING:
        _pause(turn, run, why)


def _pause(turn: Turn, run: LiveRun, why: str) -> None:
    run.state, run.reason = RunState.PAUSED, f"{WAITS_FOR_APPROVAL}{why}"
    turn.record(RunChanged(run.id, run.state, run.reason, turn.now, run.partial))


def _go_cheaper(turn: Turn, run: LiveRun, no: int | None, why: str, facts: dict[str, Any]) -> None:
    run.partial = True
    level = run.budget.cheaper + 1
    _set(turn, run, cheaper=level, cheaper_since=turn.now)
    turn.record(RunChanged(run.id, run.state, run.reason, turn.now, partial=True))
    _tell(turn, run, no, f"goes on cheaper, by {level}: {why}", {"choice": "cheaper", "level": level, **facts})


def _stop(turn: Turn, run: LiveRun, no: int | None, why: str, facts: dict[str, Any]) -> None:
    run.partial = True
    _set(turn, run, stopped=why)
    turn.record(RunChanged(run.id, run.state, run.reason, turn.now, partial=True))
    undone = {
        run.step(other).path: max(0, (progress.count or 1) - progress.ended - progress.out)
        for other, progress in enumerate(run.steps)
        if not progress.state.final
    }
    shown = dict(list(undone.items())[:20])
    _tell(turn, run, no, f"stops: {why}", {"choice": "stop", "not_begun": sum(undone.values()), "of": shown, **facts})


def _choice(turn: Turn, run: LiveRun) -> str:
    return run.budget.choice or str(_clause(turn, run).get("on_exhausted", "stop"))


def _clause(turn: Turn, run: LiveRun) -> Mapping[str, Any]:
    return run.plan.budget if run.plan.budget is not None else turn.policy.run_budget


def _asked(run: LiveRun) -> Mapping[str, Any]:
    if run.budget.asked is None:
        raise Conflict(f"run {run.id} waits for no approval")
    return run.budget.asked


def _set(turn: Turn, run: LiveRun, **changes: Any) -> None:
    run.budget = replace(run.budget, **changes)
    turn.record(BudgetChanged(run.id, run.budget.to_json()))


def _tell(turn: Turn, run: LiveRun, no: int | None, reason: str, figures: Mapping[str, Any]) -> None:
    turn.record(Decision(run.id, "budget", reason, turn.now, no, None, dict(figures)))


__all__ = [
    "OVER_BUDGET", "RunBudget", "approve", "check_answered", "leave_rest", "met", "reject", "restored", "unanswered",
]  # fmt: skip
