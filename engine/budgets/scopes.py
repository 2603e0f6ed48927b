"""Which scopes a call counts against, by name and limit: step, run, session, tenant, day, week, month, bucket.

Reads nothing and decides nothing: plan and settings say the limits, the clock is an argument.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from urllib.parse import quote
from zoneinfo import ZoneInfo

from engine.costs.money import nusd
from engine.hotstate.budgets import Bucket, Limit, Scope
from engine.plan.care import Budget as BudgetClause
from engine.plan.care import Limits as PlanLimits
from settings.economy.budgets import Budgets, Limits, Periods

DAY_S = 86_400
Above = Sequence[tuple[str, BudgetClause | None]]
"""Runs above a run, the nearest first, each with what its plan or an operator allowed it."""
ATTEMPT = "attempt"


@dataclass(frozen=True, slots=True)
class Spender:
    """Who makes a call: an attempt at a node, in a delivery of a shard.

    ``attempt_name`` is how it is known in Redis.
    """

    run_id: str
    step_no: int
    item: int
    attempt: int
    tenant: str
    session: str
    token: str
    shard: int = 0

    @property
    def attempt_name(self) -> str:
        """Run, step, item and attempt."""
        return attempt_name(self.run_id, self.step_no, self.item, self.attempt)


def attempt_name(run_id: str, step_no: int, item: int, attempt: int) -> str:
    """How an attempt is known in Redis."""
    return f"{run_id}/{step_no}/{item}/{attempt}"


def task_scope(run_id: str, step_no: int) -> str:
    """All nodes of one step."""
    return f"task/{run_id}/{step_no}"


def run_scope(run_id: str) -> str:
    """One run."""
    return f"run/{run_id}"


def session_scope(tenant: str, session: str) -> str:
    """One session of a tenant."""
    return f"session/{_safe(tenant)}/{_safe(session)}"


def tenant_scope(tenant: str) -> str:
    """One tenant, for good."""
    return f"tenant/{_safe(tenant)}"


def bucket_name(tenant: str | None) -> str:
    """The bucket of a tenant, or of all."""
    return "burst" if tenant is None else f"burst/{_safe(tenant)}"


def period_scopes(tenant: str | None, at: float, zone: str, limits: Periods | None = None) -> tuple[Scope, ...]:
    """Day, week and month of the epoch second ``at``, of a tenant or of all."""
    day = datetime.fromtimestamp(at, ZoneInfo(zone))
    year, week, _ = day.isocalendar()
    owner = "" if tenant is None else f"/{_safe(tenant)}"
    limits = limits or Periods()
    return (
        Scope(f"day{owner}/{day:%Y-%m-%d}", limit_of(limits.day), 8 * DAY_S),
        Scope(f"week{owner}/{year}-W{week:02}", limit_of(limits.week), 14 * DAY_S),
        Scope(f"month{owner}/{day:%Y-%m}", limit_of(limits.month), 38 * DAY_S),
    )


def scopes_of(
    who: Spender, step: PlanLimits | None, run: BudgetClause | None, settings: Budgets, at: float, above: Above = ()
) -> tuple[Scope, ...]:
    """Every scope of a call at the epoch second ``at``, the narrowest first: that is the one a refusal names.

    What a run spends is spent by those ``above`` it too.
    """
    tenant = settings.tenants.get(who.tenant, settings.tenant)
    session = settings.sessions.get(f"{who.tenant}/{who.session}") or settings.sessions.get(who.session)
    return (
        Scope(task_scope(who.run_id, who.step_no), plan_limit(step)),
        *(
            Scope(run_scope(run_id), limit_of(settings.run) if clause is None else plan_limit(clause))
            for run_id, clause in ((who.run_id, run), *above)
        ),
        Scope(session_scope(who.tenant, who.session), limit_of(session or settings.session)),
        Scope(tenant_scope(who.tenant), limit_of(tenant)),
        *period_scopes(who.tenant, at, settings.time_zone, tenant),
        Scope("all", limit_of(settings.all)),
        *period_scopes(None, at, settings.time_zone, settings.all),
    )


def buckets_of(who: Spender, settings: Budgets) -> tuple[Bucket, ...]:
    """The buckets that a call is drawn from."""
    tenant = settings.tenants.get(who.tenant, settings.tenant)
    found = []
    for name, burst in ((bucket_name(who.tenant), tenant.burst), (bucket_name(None), settings.all.burst)):
        if burst is not None:
            # Limits become whole downwards, ceilings upwards: their sum is never more than was allowed.
            found.append(Bucket(name, int(burst.usd * 10**9), int(burst.refill_usd_per_h * 10**9)))
    return tuple(found)


def limit_of(limits: Limits) -> Limit:
    """The installation's limits in whole numbers."""
    return Limit(
        None if limits.max_usd is None else int(limits.max_usd * 10**9),
        limits.max_tokens,
        limits.max_calls,
        None if limits.max_time_s is None else int(limits.max_time_s * 1000),
    )


def plan_limit(limits: PlanLimits | None) -> Limit:
    """A plan's limits in whole numbers."""
    if limits is None:
        return Limit()
    return Limit(
        None if limits.max_usd is None else nusd(limits.max_usd),
        limits.max_tokens,
        limits.max_calls,
        None if limits.max_time is None else int(limits.max_time * 1000),
    )


def attempt_ceiling_nusd(
    step: PlanLimits | None, run: BudgetClause | None, settings: Budgets, above: Above = ()
) -> int:
    """The most that one attempt may spend: the least of the limits of its step, its runs and the installation."""
    runs = (run, *(clause for _, clause in above))
    stated = (
        plan_limit(step).nusd,
        *((limit_of(settings.run) if each is None else plan_limit(each)).nusd for each in runs),
    )
    return min([int(settings.attempt_max_usd * 10**9), *(limit for limit in stated if limit is not None)])


def told(scope: str) -> str:
    """A scope's name for people: ``run r_1``, ``day 2026-11-22 of tenant acme``."""
    kind, *rest = scope.split("/")
    if kind == "task":
        return f"step {rest[1]} of run {rest[0]}"
    if kind in ("day", "week", "month") and len(rest) == 2:
        return f"{kind} {rest[1]} of tenant {rest[0]}"
    if kind == "session":
        return f"session {rest[1]} of tenant {rest[0]}"
    if kind == "burst":
        return f"the burst bucket of {f'tenant {rest[0]}' if rest else 'all'}"
    return "all tenants" if kind == "all" else " ".join((kind, *rest))


def _safe(name: str) -> str:
    return quote(name, safe="")
