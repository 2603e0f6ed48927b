"""What budgets are counted anew from: sums of the ledger, and attempts that are out with what they may spend.

Reads only, and knows no limits.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import case, func, literal, select, text, tuple_

from engine.store.approvals import Waiting, waiting
from engine.store.columns import ATTEMPT, LEDGER, LEDGER_SUM, NOT_FINAL, RUN
from engine.store.engines import Database
from engine.store.ledger import tokens
from engine.wire import Outcome

_PAGE = 400

_TOLD = (Outcome.OK.value, Outcome.FAILED.value, Outcome.OVER_BUDGET.value)
"""Outcomes that bodies report themselves, with whatever they spent."""

Sums = tuple[int, int, int, int]
"""Nano-dollars, tokens, calls, milliseconds of calls."""


@dataclass(frozen=True, slots=True)
class Out:
    """An attempt that is out and may spend: so much at most."""

    run_id: str
    step_no: int
    item: int
    attempt: int
    tenant: str
    session: str
    ceiling_nusd: int
    begun: bool


class BudgetBooks:
    """The books of one database. Every method may raise ``Unavailable``."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def above(self) -> dict[str, str | None]:
        """The runs that have not ended and all below them, each with the run right above it."""
        tree = _open_trees()
        with self._database.reading("read which runs lie below others") as connection:
            return {row[0]: row[1] for row in connection.execute(select(tree.c.id, tree.c.parent_run))}

    def by_step(self) -> list[tuple[str, int, Sums]]:
        """Run, step and what it used, of runs that have not ended and of all below them."""
        tree = _open_trees()
        chosen = (
            select(LEDGER.c.run_id, LEDGER.c.step_no, *_sums())
            .select_from(LEDGER.join(tree, tree.c.id == LEDGER.c.run_id))
            .group_by(LEDGER.c.run_id, LEDGER.c.step_no)
        )
        with self._database.reading("read what runs have spent") as connection:
            return [(row[0], row[1], _whole(row[2:])) for row in connection.execute(chosen)]

    def going(self, run_ids: Iterable[str]) -> set[str]:
        """Those of some runs that have not ended."""
        wanted, found = sorted(set(run_ids)), set[str]()
        with self._database.reading("look which runs have ended") as connection:
            for start in range(0, len(wanted), _PAGE):
                page = wanted[start : start + _PAGE]
                found.update(connection.scalars(select(RUN.c.id).where(RUN.c.id.in_(page), text(NOT_FINAL))))
        return found

    def by_session(self, since: float | None = None) -> list[tuple[str, str, Sums]]:
        """Tenant, session and what it used from ``since`` (epoch seconds) on, deleted runs included."""
        live = (
            select(RUN.c.tenant, RUN.c.session, *_sums())
            .select_from(LEDGER.join(RUN, RUN.c.id == LEDGER.c.run_id))
            .group_by(RUN.c.tenant, RUN.c.session)
        )
        kept: list[Any] = [func.sum(LEDGER_SUM.c[name]) for name in ("cost_nusd", "tokens", "calls")]
        gone = select(LEDGER_SUM.c.tenant, LEDGER_SUM.c.session, *kept, literal(0)).group_by(
            LEDGER_SUM.c.tenant, LEDGER_SUM.c.session
        )
        if since is not None:
            live, gone = live.where(LEDGER.c.at >= since), gone.where(LEDGER_SUM.c.quarter_at >= since)
        with self._database.reading("read what sessions have spent") as connection:
            rows = [*connection.execute(live), *connection.execute(gone)]
        return [(row[0], row[1], _whole(row[2:])) for row in rows]

    def asking(self, shard: int) -> list[Waiting]:
        """The runs of a shard that wait for an operator."""
        return waiting(self._database, shard)

    def any_out(self) -> bool:
        """Whether any attempt is out, whoever knows what it does."""
        chosen = (
            select(literal(1))
            .select_from(ATTEMPT.join(RUN, RUN.c.id == ATTEMPT.c.run_id))
            .where(text(f"run.{NOT_FINAL}"), ATTEMPT.c.outcome.is_(None))
            .limit(1)
        )
        with self._database.reading("look whether attempts are out") as connection:
            return connection.scalar(chosen) is not None

    def out(self) -> list[Out]:
        """Attempts that are out and may spend."""
        chosen = (
            select(
                ATTEMPT.c.run_id, ATTEMPT.c.step_no, ATTEMPT.c.item, ATTEMPT.c.attempt, RUN.c.tenant, RUN.c.session,
                ATTEMPT.c.ceiling_nusd, ATTEMPT.c.begun_at,
            )
            .select_from(ATTEMPT.join(RUN, RUN.c.id == ATTEMPT.c.run_id))
            .where(text(f"run.{NOT_FINAL}"), ATTEMPT.c.outcome.is_(None), ATTEMPT.c.ceiling_nusd.is_not(None))
        )  # fmt: skip
        with self._database.reading("read which attempts may spend") as connection:
            return [Out(*row[:7], begun=row[7] is not None) for row in connection.execute(chosen)]

    def stored(self, ids: Iterable[str]) -> set[str]:
        """Those of some entries that the ledger has."""
        wanted, found = sorted(set(ids)), set[str]()
        with self._database.reading("look for entries of the ledger") as connection:
            for start in range(0, len(wanted), _PAGE):
                page = wanted[start : start + _PAGE]
                found.update(connection.scalars(select(LEDGER.c.id).where(LEDGER.c.id.in_(page))))
        return found

    def ended(
        self, attempts: Sequence[tuple[str, int, int, int]]
    ) -> dict[tuple[str, int, int, int], tuple[Sums, bool]]:
        """Those of some attempts (run, step, item, number) that are over: what each used, and whether it told so."""
        keys = (ATTEMPT.c.run_id, ATTEMPT.c.step_no, ATTEMPT.c.item, ATTEMPT.c.attempt)
        same = (LEDGER.c.run_id, LEDGER.c.step_no, LEDGER.c.item, LEDGER.c.attempt)
        found: dict[tuple[str, int, int, int], tuple[Sums, bool]] = {}
        with self._database.reading("look which attempts have ended") as connection:
            for start in range(0, len(attempts), _PAGE):
                page = list(attempts[start : start + _PAGE])
                chosen = select(*keys, ATTEMPT.c.outcome).where(tuple_(*keys).in_(page))
                over = {tuple(row[:4]): row[4] for row in connection.execute(chosen) if row[4] is not None}
                spent = connection.execute(select(*same, *_sums()).where(tuple_(*same).in_(page)).group_by(*same))
                sums = {tuple(row[:4]): _whole(row[4:]) for row in spent}
                found |= {
                    key: (sums.get(key, (0, 0, 0, 0)), key in sums or over[key] in _TOLD) for key in page if key in over
                }
        return found


def _open_trees() -> Any:
    """Runs that have not ended and, ended or not, all below them."""
    tree = select(RUN.c.id, RUN.c.parent_run).where(text(NOT_FINAL)).cte("tree", recursive=True)
    return tree.union(select(RUN.c.id, RUN.c.parent_run).join(tree, RUN.c.parent_run == tree.c.id))


def _sums() -> tuple[Any, ...]:
    called = case((LEDGER.c.cache.in_(("none", "miss")), 1), else_=0)
    return (
        func.sum(LEDGER.c.cost_nusd), func.sum(tokens()), func.sum(called), func.sum(LEDGER.c.call_s * 1000),
    )  # fmt: skip


def _whole(row: Sequence[Any]) -> Sums:
    nusd, used, calls, ms = (int(part or 0) for part in row)
    return nusd, used, calls, ms
