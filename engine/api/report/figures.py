"""The figures of a report, as plain data: every table that people and programs are shown.

Money is in USD here, the last step before it is shown. Where nobody looked, a figure is ``None``: never
nothing, and never perfect. What each figure means is said in ``docs/economy.md``.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from engine.costs.money import nusd, usd
from engine.costs.usage import Usage
from engine.scheduling.records import AttemptKind
from engine.store.hedged import Hedged
from engine.store.spending import Calls, Spending, Tries

Table = list[dict[str, Any]]
_HITS = ("hit", "shared", "negative")
_K = TypeVar("_K", bound=Hashable)
_T = TypeVar("_T")
_PHASES = ("planning", "execution", "checking", "consolidation")
_PARTS = ("queue", "body", "coordination", "admission", "call", "first_token")
_DECISIONS = {"hedge": "hedge", "speculative": "speculate", "prefetch": "prefetch"}


@dataclass(frozen=True, slots=True)
class Rates:
    """What the settings say that time and calls of tools cost, in USD."""

    worker_usd_per_h: float
    call_usd: Mapping[str, float]

    def seconds_nusd(self, seconds: float) -> int:
        """What a worker's seconds cost, in nano-dollars."""
        return nusd(seconds * self.worker_usd_per_h / 3600)


def figures(found: Spending, rates: Rates) -> dict[str, Any]:
    """All tables of a report, by name."""
    models = [each for each in found.calls if each.kind == "model"]
    tools = _tools(found, rates)
    coordination = _coordination(found, rates)
    return {
        "runs": found.runs,
        "runs_below": found.runs_below,
        "total": _total(models, tools, coordination, found.calls),
        "tokens": _tokens(models),
        "models": _models(models),
        "tools": tools,
        "coordination": coordination,
        "latency": _latency(found),
        "retries": _retries(found),
        "context": _context(models),
        "caches": _caches(found.calls),
        "quality": _quality(models),
        "extras": _extras(found, rates),
        "purposes": _shares(models, lambda call: call.purpose or "answer", "purpose"),
        "tenants": _shares(found.calls, lambda call: call.tenant, "tenant"),
        "sessions": _shares(found.calls, lambda call: call.session, "session"),
    }


def _total(models: list[Calls], tools: Table, coordination: Table, calls: list[Calls]) -> dict[str, Any]:
    spent = _cost(models)
    parts = {
        "models_usd": spent,
        "tools_usd": sum(row["calls_usd"] for row in tools),
        "workers_usd": sum(row["worker_usd"] for row in tools),
        "coordination_usd": sum(row["usd"] for row in coordination),
    }
    return {
        "usd": sum(parts.values()), **parts,
        "saved_usd": usd(sum(call.saved_nusd for call in calls)),
        "not_settled_usd": _cost(call for call in calls if not call.settled),
        "in_vain_usd": _cost(call for call in calls if call.outcome != "ok"),
        "calls": sum(call.entries for call in models if call.cache not in _HITS),
        "tokens": sum(call.usage.total for call in models),
    }  # fmt: skip


def _tokens(models: list[Calls]) -> Table:
    rows = []
    for (task, skill), calls in _by(models, lambda call: (call.task, call.skill)).items():
        used = sum((call.usage for call in calls), Usage())
        rows.append({
            "task": task, "skill": skill, "calls": sum(call.entries for call in calls), "input": used.input,
            "cache_read": used.cache_read, "cache_write": used.cache_write_5m + used.cache_write_1h,
            "output": used.output, "reasoning": used.reasoning, "tokens": used.total, "usd": _cost(calls),
        })  # fmt: skip
    return sorted(rows, key=lambda row: -row["tokens"])


def _models(models: list[Calls]) -> Table:
    whole = _cost(models)
    rows = []
    for name, calls in _by(models, lambda call: call.name).items():
        used = sum((call.usage for call in calls), Usage())
        rows.append({
            "model": name, "calls": sum(call.entries for call in calls if call.cache not in _HITS),
            "failed": sum(call.entries for call in calls if call.outcome != "ok"), "tokens": used.total,
            "prompt_cache_share": _ratio(used.cache_read, used.input_total), "usd": _cost(calls),
            "share": _ratio(_cost(calls), whole), "saved_usd": usd(sum(call.saved_nusd for call in calls)),
        })  # fmt: skip
    return sorted(rows, key=lambda row: -row["usd"])


def _tools(found: Spending, rates: Rates) -> Table:
    """Attempts by task type, whatever they did: worker time, and the price of a call where there is one."""
    entries = _by((call for call in found.calls if call.kind == "tool"), lambda call: call.task)
    rows = []
    for task, tries in _by(found.tries, lambda tried: tried.task).items():
        begun, body_s = sum(tried.begun for tried in tries), sum(tried.body_s for tried in tries)
        own = entries.get(task, [])
        # An attempt with an entry of its own costs what that says: a hit of a cache costs no call.
        calls = max(0, begun - sum(call.entries for call in own))
        rows.append({
            "task": task, "attempts": sum(tried.attempts for tried in tries), "begun": begun,
            "cached": sum(call.entries for call in own if call.cache in _HITS), "body_s": body_s,
            "calls_usd": calls * rates.call_usd.get(task, 0.0) + _cost(own),
            "worker_usd": usd(rates.seconds_nusd(body_s)),
        })  # fmt: skip
    return sorted(rows, key=lambda row: -row["body_s"])


def _coordination(found: Spending, rates: Rates) -> Table:
    return [
        {"phase": phase, "seconds": seconds, "usd": usd(rates.seconds_nusd(seconds))}
        for phase, told in _by(found.coordination, lambda told: told.phase).items()
        for seconds in [sum(each.seconds for each in told)]
    ]


def _latency(found: Spending) -> Table:
    def place(key: tuple[str, str]) -> tuple[int, int]:
        phase, part = key
        return _PHASES.index(phase) if phase in _PHASES else len(_PHASES), _PARTS.index(part)

    return [
        {"phase": phase, "part": part, "count": spread.count, "p50_s": spread.p50_s, "p95_s": spread.p95_s}
        for (phase, part), spread in sorted(found.latency.items(), key=lambda each: place(each[0]))
    ]


def _retries(found: Spending) -> Table:
    repairs: dict[str, int] = defaultdict(int)
    for call in found.calls:
        repairs[call.task] += call.entries if call.purpose == "repair" else 0
    rows = []
    for task, tries in _by(found.tries, lambda tried: tried.task).items():
        count = {kind: sum(tried.attempts for tried in same) for kind, same in _by(tries, _kind).items()}
        first, again = count.get("primary", 0), count.get("retry", 0)
        rows.append({
            "task": task, "attempts": sum(count.values()), "retries": again,
            "rate": _ratio(again, first + again), "repairs": repairs[task],
        })  # fmt: skip
    return sorted(rows, key=lambda row: -row["retries"])


def _context(models: list[Calls]) -> dict[str, Any]:
    of = sum(call.cited_of for call in models)
    return {
        "calls": sum(call.entries for call in models),
        "looked": sum(call.looked for call in models),
        "context_tokens": of,
        "cited_tokens": sum(call.cited for call in models),
        "utilisation": _ratio(sum(call.cited for call in models), of),
    }


def _caches(calls: list[Calls]) -> Table:
    rows = []
    for kind, same in _by(calls, lambda call: call.kind).items():
        count = {name: sum(call.entries for call in of) for name, of in _by(same, lambda call: call.cache).items()}
        asked = sum(number for name, number in count.items() if name != "none")
        if asked:
            rows.append({
                "cache": f"{kind} results", "asked": asked, **{name: count.get(name, 0) for name in _HITS},
                "hit_rate": _ratio(asked - count.get("miss", 0), asked),
                "saved_usd": usd(sum(call.saved_nusd for call in same if call.cache in _HITS)),
            })  # fmt: skip
    sent = [call for call in calls if call.kind == "model" and call.cache not in _HITS]
    used = sum((call.usage for call in sent), Usage())
    if used.input_total:
        # In tokens, not calls: a prefix is read as far as it matches.
        rows.append({
            "cache": "prompt caches (tokens)", "asked": used.input_total, "hit": used.cache_read,
            "shared": 0, "negative": 0, "hit_rate": _ratio(used.cache_read, used.input_total),
            "saved_usd": usd(sum(call.saved_nusd for call in sent)),
        })  # fmt: skip
    return rows


def _quality(models: list[Calls]) -> Table:
    rows = []
    of_answers = (call for call in models if call.purpose not in ("check", "judge", "embed"))
    for (task, skill, model), calls in _by(of_answers, lambda call: (call.task, call.skill, call.name)).items():
        made, scored = sum(call.entries for call in calls), sum(call.scored for call in calls)
        rows.append({
            "task": task, "skill": skill, "model": model, "calls": made, "usd_per_call": _cost(calls) / made,
            "scored": scored, "score": _ratio(sum(call.score_sum for call in calls), scored), "unknown": made - scored,
        })  # fmt: skip
    return sorted(rows, key=lambda row: (row["task"], row["skill"], row["usd_per_call"]))


def _extras(found: Spending, rates: Rates) -> Table:
    rows = []
    tries, calls = _by(found.tries, _kind), _by(found.calls, lambda call: call.attempt_kind)
    for kind, decision in _DECISIONS.items():
        made, told = tries.get(kind, []), found.bets.get(decision, {})
        if not made and not told and kind not in calls:
            continue
        body_s = sum(tried.body_s for tried in made)
        begun = sum(tried.begun * rates.call_usd.get(tried.task, 0.0) for tried in made)
        rows.append({
            "kind": kind, "attempts": sum(tried.attempts for tried in made), "won": sum(tried.won for tried in made),
            "body_s": body_s, "usd": usd(rates.seconds_nusd(body_s)) + begun + _cost(calls.get(kind, [])),
            "saved_s": told.get("saved_s"), "wasted_s": told.get("wasted_s"), "saved_is": "as decided",
        } | (_hedged(found.hedged) if kind == AttemptKind.HEDGE else {}))  # fmt: skip
    if found.duplicates:
        rows.append({
            "kind": "duplicate reports", "attempts": found.duplicates, "won": 0, "body_s": found.duplicate_s,
            "usd": usd(rates.seconds_nusd(found.duplicate_s)), "saved_s": None, "wasted_s": found.duplicate_s,
            "saved_is": "",
        })  # fmt: skip
    return rows


def _hedged(found: Hedged) -> dict[str, Any]:
    """What copies won: a lower bound wherever the slower body was stopped before its end."""
    saved_is = "at least" if found.stopped else "measured"
    return {"saved_s": found.saved_s, "wasted_s": found.wasted_s, "saved_is": saved_is}


def _shares(calls: list[Calls], key: Callable[[Calls], str], name: str) -> Table:
    whole = _cost(calls)
    return [
        {name: value, "entries": sum(call.entries for call in of), "usd": _cost(of), "share": _ratio(_cost(of), whole)}
        for value, of in sorted(_by(calls, key).items(), key=lambda each: -_cost(each[1]))
    ]


def _kind(tried: Tries) -> str:
    return tried.kind


def _cost(calls: Iterable[Calls]) -> float:
    return usd(sum(call.cost_nusd for call in calls))


def _ratio(part: float, whole: float) -> float | None:
    return part / whole if whole else None


def _by(rows: Iterable[_T], key: Callable[[_T], _K]) -> dict[_K, list[_T]]:
    groups: dict[_K, list[_T]] = defaultdict(list)
    for row in rows:
        groups[key(row)].append(row)
    return dict(groups)
