"""What `runs show` says of money: a line where anything was spent or saved."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from engine.costs.money import nusd, shown, usd
from engine.store.spending import paid

if TYPE_CHECKING:
    from engine.store.runs import RunStore


def cost_row(store: RunStore, run_id: str) -> dict[str, Any] | None:
    """What the ledger holds of a run and those below it; ``None`` if it holds nothing."""
    found = paid(store.database, run_id)
    if not found.calls and not found.hits:
        return None
    return {
        "usd": usd(found.cost_nusd), "saved_usd": usd(found.saved_nusd), "calls": found.calls, "hits": found.hits,
        "not_settled": found.not_settled, "off_peak": found.off_peak,
    }  # fmt: skip


def cost_lines(row: dict[str, Any] | None) -> list[str]:
    """Such as ``cost     $0.27 for 181 calls, 45 from caches; saved $0.12; 3 estimated; 2 off-peak batches``."""
    if row is None:
        return []
    hits = f", {row['hits']:,} from caches" if row["hits"] else ""
    saved = f"; saved {shown(nusd(row['saved_usd']))}" if row["saved_usd"] > 0 else ""
    guessed = f"; {row['not_settled']:,} estimated" if row["not_settled"] else ""
    count = row["off_peak"]
    patient = f"; {count:,} off-peak batch{'' if count == 1 else 'es'}" if count else ""
    calls = "1 call" if row["calls"] == 1 else f"{row['calls']:,} calls"
    return [f"cost     {shown(nusd(row['usd']))} for {calls}{hits}{saved}{guessed}{patient}"]
