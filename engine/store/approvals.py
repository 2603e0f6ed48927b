"""What was decided of runs' budgets, and which runs wait for an operator's answer. Reads only."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import orjson
from sqlalchemy import select, text

from engine.store.columns import NOT_FINAL, RUN
from engine.store.engines import Database


@dataclass(frozen=True, slots=True)
class Waiting:
    """A run that asked. ``asked`` has ``at``, ``until`` (epoch seconds or ``None``), ``why`` and the figures."""

    run_id: str
    plan: str
    tenant: str
    session: str
    asked: Mapping[str, Any]

    def data(self, now: float) -> dict[str, Any]:
        """The same as plain data, times in ISO 8601, ``age_s`` since it asked."""
        times = {name: _shown(self.asked.get(name)) for name in ("at", "until")}
        rest = {name: value for name, value in self.asked.items() if name not in times}
        return {
            "run": self.run_id, "plan": self.plan, "tenant": self.tenant, "session": self.session,
            "asked": times["at"], "age_s": round(max(0.0, now - self.asked.get("at", now)), 1),
            "until": times["until"], **rest,
        }  # fmt: skip


def waiting(database: Database, shard: int | None = None) -> list[Waiting]:
    """Those that wait, of one shard or all, the one that asked first at the head."""
    chosen = select(RUN.c.id, RUN.c.plan_name, RUN.c.tenant, RUN.c.session, RUN.c.budget).where(
        text(NOT_FINAL), RUN.c.budget.is_not(None)
    )
    if shard is not None:
        chosen = chosen.where(RUN.c.shard == shard)
    with database.reading("read which runs wait for an answer") as connection:
        rows = [(row, orjson.loads(row.budget).get("asked")) for row in connection.execute(chosen)]
    found = [Waiting(row.id, row.plan_name, row.tenant, row.session, asked) for row, asked in rows if asked]
    return sorted(found, key=lambda each: each.asked.get("at", 0.0))


def decided(database: Database, run_id: str) -> dict[str, Any]:
    """What was decided of one run's budget, as ``RunBudget.to_json`` wrote it; empty if nothing was."""
    with database.reading(f"read what was decided of the budget of run {run_id}") as connection:
        found = connection.scalar(select(RUN.c.budget).where(RUN.c.id == run_id))
    return dict(orjson.loads(found or "{}"))


def _shown(at: float | None) -> str | None:
    return None if at is None else datetime.fromtimestamp(at, UTC).isoformat(timespec="seconds")
