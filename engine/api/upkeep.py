"""What keeps an installation in order: forget old runs and tenants, audit, report. A part of ``Client``."""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING, Any

from engine.scheduling.records import RunState
from engine.store.views import FINAL_STATES

if TYPE_CHECKING:
    from engine.artefacts.store import ArtefactStore
    from engine.store.audit import Finding
    from engine.store.retention import Pruned
    from engine.store.runs import RunStore
    from settings import Settings


class Upkeep:
    """Over what the client has open."""

    settings: Settings
    store: RunStore

    if TYPE_CHECKING:

        @property
        def artefacts(self) -> ArtefactStore: ...
        @property
        def redis_url(self) -> str | None: ...

    def prune(self, older_than_s: float, states: Collection[RunState] = FINAL_STATES, dry_run: bool = False) -> Pruned:
        """Forget runs that ended in one of ``states`` longer ago than ``older_than_s``, and unused artefacts."""
        return self.store.prune(self.artefacts, older_than_s, states, dry_run)

    def delete_tenant(self, tenant: str) -> Pruned:
        """Delete a tenant's runs, kept results and everything only they refer to, in Redis too.

        Raises ``Conflict`` if one still runs, and ``Unavailable`` while Redis is away: say it again then.
        """
        from engine.api import caching  # lazy: Redis

        pruned = self.store.delete_tenant(tenant, self.artefacts)
        with caching.open_index(self.settings, self.redis_url) as index:
            caching.clear(self.store.database, index, tenant)
        return pruned

    def audit(self, run: str) -> list[Finding]:
        """What SQL says of a run and cannot be true; empty is a clean bill. Raises ``NotFound``."""
        return self.store.audit(run, self.settings.losses_max)

    def report(
        self,
        run: str | None = None,
        *,
        since: float | None = None,
        plan: str | None = None,
        tenant: str | None = None,
        session: str | None = None,
    ) -> dict[str, Any]:
        """What a run, or all runs that went on after ``since`` (epoch seconds), cost and took; docs/economy.md.

        Raises ``NotFound``.
        """
        from engine.api.report.making import report
        from engine.store.spending import Scope

        found = None if run is None else self.store.get(run).id
        return report(self.store.database, self.settings, Scope(found, since, plan, tenant, session))
