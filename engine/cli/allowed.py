"""What `runs show` says of a run's budget: a line where it has one, and one where it waits for an answer."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from engine.cli.times import span, stamp
from engine.costs.money import nusd, shown
from engine.store.approvals import decided

if TYPE_CHECKING:
    from engine.store.runs import RunStore

_LIMITS = ("max_usd", "max_tokens", "max_calls", "max_time")


def budget_row(store: RunStore, run_id: str, paid: dict[str, Any] | None) -> dict[str, Any] | None:
    """The limits of a run's own, what is left of those that ``paid`` tells of, and what was decided.

    ``None`` if the run has no limit and nothing was decided. Limits of the installation are not in it.

    Parameters
    ----------
    paid
        As ``engine.cli.paid.cost_row`` gives it: what the ledger holds by now, calls that still run left out.
    """
    said = decided(store.database, run_id)
    clause = store.plan_source(run_id).get("budget") or {}
    limits = {name: clause[name] for name in _LIMITS if clause.get(name) is not None}
    if said.get("max_nusd") is not None:
        limits["max_usd"] = said["max_nusd"] / 1e9
    limits |= said.get("limits") or {}
    asked, stopped = said.get("asked"), said.get("stopped", "")
    if not limits and not asked and not stopped:
        return None
    spent = paid["usd"] if paid is not None else 0.0
    calls = paid["calls"] if paid is not None else 0
    most_usd, most_calls = limits.get("max_usd"), limits.get("max_calls")
    return {
        **{name: limits.get(name) for name in _LIMITS},
        "spent_usd": spent,
        "left_usd": None if most_usd is None else max(0.0, round(most_usd - spent, 9)),
        "left_calls": None if most_calls is None else max(0, most_calls - calls),
        "asked": (asked or {}).get("why"),
        "asked_at": stamp((asked or {}).get("at")),
        "asked_for_s": None if not asked else round(max(0.0, time.time() - asked.get("at", 0.0)), 1),
        "until": stamp((asked or {}).get("until")),
        "stopped": stopped or None,
    }


def budget_lines(run_id: str, row: dict[str, Any] | None) -> list[str]:
    """Such as ``budget   $0.27 spent of $1.00, $0.73 left``, and how to answer where the run asks."""
    if row is None:
        return []
    parts = []
    if row["max_usd"] is not None:
        left = shown(nusd(row["left_usd"]))
        parts.append(f"{shown(nusd(row['spent_usd']))} spent of {shown(nusd(row['max_usd']))}, {left} left")
    if row["max_calls"] is not None:
        parts.append(f"{row['left_calls']:,} of {row['max_calls']:,} calls left")
    parts += [f"{name} {row[name]}" for name in ("max_tokens", "max_time") if row[name] is not None]
    lines = [f"budget   {'; '.join(parts) or 'no limit of its own'}"]
    if row["stopped"]:
        lines.append(f"stopped  {row['stopped']}")
    elif row["asked"]:
        until = f"until {row['until']}" if row["until"] else "without a limit of time"
        lines.append(f"waits    {span(row['asked_for_s'])} for an answer by now, {until}")
        lines.append(f"approve  flywheel approvals approve {run_id} [--max-usd USD]")
        lines.append(f"reject   flywheel approvals reject {run_id}")
    return lines
