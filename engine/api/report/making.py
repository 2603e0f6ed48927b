"""Making a report of an installation's runs: what is stored, at the prices that are set."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from engine.api.report.figures import Rates, figures
from engine.costs.money import usd
from engine.costs.price_list import listed_as
from engine.store.ledger import Spent, spent_by_deleted
from engine.store.spending import Scope, spending

if TYPE_CHECKING:
    from engine.store.engines import Database
    from settings import Settings


def report(database: Database, settings: Settings, scope: Scope) -> dict[str, Any]:
    """A report's figures as plain data, with what they rest on.

    Raises
    ------
    NotFound
        There is no such run.
    """
    found = spending(database, scope)
    gone = Spent()
    if scope.run is None and scope.plan is None:
        gone = spent_by_deleted(database, scope.since or 0.0, tenant=scope.tenant, session=scope.session)
    rates = Rates(settings.worker_usd_per_h, settings.call_usd)
    return {
        "run": scope.run, "since": scope.since, "from_at": found.first_at, "to_at": found.last_at,
        "deleted_runs": {"usd": usd(gone.cost_nusd), "calls": gone.calls, "tokens": gone.tokens},
        "prices": listed_as(), "worker_usd_per_h": settings.worker_usd_per_h, **figures(found, rates),
    }  # fmt: skip
