"""A report as one HTML file that stands alone: no script, nothing from the network, light or dark as one likes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from html import escape
from typing import Any

from engine.api.report.charts import Bar, Point, Range, bars, points, ranges
from engine.costs.money import nusd, shown

Data = Mapping[str, Any]
Row = Mapping[str, Any]

_BARS_MAX = 20


def page(title: str, data: Data) -> str:
    """The page of a report's ``data``; ``title`` says what it is of."""
    body = "".join(f"<section><h2>{escape(name)}</h2>{make(data)}</section>" for name, make in _SECTIONS)
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title><style>{_STYLE}</style></head><body><main>"
        f"<h1>{escape(title)}</h1>{_head(data)}{body}<footer>{_foot(data)}</footer></main></body></html>\n"
    )


def money(amount: float | None) -> str:
    """USD for people; a dash where it is not known."""
    return "–" if amount is None else shown(nusd(amount))


def seconds(amount: float | None) -> str:
    """A duration for people: ``12 ms``, ``3.4 s``, ``5.2 min``, ``2.5 h``."""
    if amount is None:
        return "–"
    if amount < 0.9995:
        return f"{amount * 1000:.3g} ms"
    if amount < 120:
        return f"{amount:.3g} s"
    return f"{amount / 60:.3g} min" if amount < 7200 else f"{amount / 3600:.3g} h"


def share(amount: float | None) -> str:
    """A share for people; ``unknown`` where nobody looked."""
    return "unknown" if amount is None else f"{amount:.1%}"


def part(amount: float | None) -> str:
    """A share of a sum for people; a dash where the sum is nothing."""
    return "–" if amount is None else f"{amount:.1%}"


def score(amount: float | None) -> str:
    """A score from 0 to 1; ``unknown`` where nobody looked."""
    return "unknown" if amount is None else f"{amount:.2f}"


def _head(data: Data) -> str:
    total = data["total"]
    tiles = [
        ("cost", money(total["usd"])),
        ("of it models", money(total["models_usd"])),
        ("saved", money(total["saved_usd"])),
        ("model calls", f"{total['calls']:,}"),
        ("tokens", f"{total['tokens']:,}"),
        ("runs", f"{data['runs']:,}" + (f" + {data['runs_below']:,} below" if data["runs_below"] else "")),
        ("context used", share(data["context"]["utilisation"])),
    ]
    drawn = "".join(f"<div><b>{escape(value)}</b><span>{escape(name)}</span></div>" for name, value in tiles)
    return f'<div class="tiles">{drawn}</div>'


def _foot(data: Data) -> str:
    total = data["total"]
    notes = [
        f"Prices: {data['prices']}.",
        f"A worker's hour counts {money(data['worker_usd_per_h'])}.",
        f"{money(total['not_settled_usd'])} is estimated: calls whose end nobody saw.",
        f"{money(total['in_vain_usd'])} went into calls that failed, were invalid or cut off.",
    ]
    if data["deleted_runs"]["usd"]:
        notes.append(f"Runs that were deleted since had spent {money(data['deleted_runs']['usd'])} more.")
    return escape(" ".join(notes))


def _cost(data: Data) -> str:
    total = data["total"]
    rows = [Bar(row["model"], [row["usd"]], money(row["usd"])) for row in data["models"][:_BARS_MAX]]
    rows += [
        Bar(row["task"], [0, row["calls_usd"], row["worker_usd"]], money(row["calls_usd"] + row["worker_usd"]))
        for row in sorted(data["tools"], key=lambda row: -row["calls_usd"] - row["worker_usd"])[:_BARS_MAX]
    ]
    rows.append(Bar("coordination", [0, 0, 0, total["coordination_usd"]], money(total["coordination_usd"])))
    drawn = bars("Cost by model, tool and coordination", rows, ("model", "tool's calls", "workers", "coordination"))
    return drawn + _table(data["models"], {
        "model": str, "calls": _count, "failed": _count, "tokens": _count, "prompt_cache_share": part, "usd": money,
        "share": part, "saved_usd": money,
    })  # fmt: skip


def _tokens(data: Data) -> str:
    kinds = ("input", "cache_read", "cache_write", "output", "reasoning")
    rows = [Bar(_named(row), [row[kind] for kind in kinds], f"{row['tokens']:,}") for row in data["tokens"][:_BARS_MAX]]
    drawn = bars("Tokens per task type and skill", rows, [kind.replace("_", " ") for kind in kinds])
    return drawn + _table(data["tokens"], {
        "task": str, "skill": str, "calls": _count, **dict.fromkeys((*kinds, "tokens"), _count), "usd": money,
    })  # fmt: skip


def _latency(data: Data) -> str:
    rows = [
        Range(f"{row['phase']}: {row['part'].replace('_', ' ')}", row["p50_s"], row["p95_s"], seconds(row["p95_s"]))
        for row in data["latency"]
    ]
    drawn = ranges("Latency by phase, p50 to p95", rows)
    return drawn + _table(
        data["latency"], {"phase": str, "part": str, "count": _count, "p50_s": seconds, "p95_s": seconds}
    )


def _quality(data: Data) -> str:
    known = [row for row in data["quality"] if row["score"] is not None]
    drawn = ""
    if known:
        found = [
            Point(f"{row['model']} · {_named(row)}", row["usd_per_call"], row["score"], row["scored"]) for row in known
        ]
        drawn = points("Cost against quality", "USD a call", "score", found)
    return drawn + _table(data["quality"], {
        "task": str, "skill": str, "model": str, "calls": _count, "usd_per_call": money, "scored": _count,
        "score": score, "unknown": _count,
    })  # fmt: skip


def _caches(data: Data) -> str:
    rows = [Bar(row["cache"], [row["hit_rate"] or 0.0], share(row["hit_rate"])) for row in data["caches"]]
    return bars("Cache hit rates", rows, most=1.0) + _table(data["caches"], {
        "cache": str, "asked": _count, "hit": _count, "shared": _count, "negative": _count, "hit_rate": share,
        "saved_usd": money,
    })  # fmt: skip


def _context(data: Data) -> str:
    told = data["context"]
    return _table([told], {
        "calls": _count, "looked": _count, "context_tokens": _count, "cited_tokens": _count, "utilisation": share,
    })  # fmt: skip


def _retries(data: Data) -> str:
    return _table(
        data["retries"], {"task": str, "attempts": _count, "retries": _count, "rate": part, "repairs": _count}
    )


def _extras(data: Data) -> str:
    return _table(data["extras"], {
        "kind": str, "attempts": _count, "won": _count, "body_s": seconds, "usd": money, "saved_s": seconds,
        "wasted_s": seconds, "saved_is": str,
    })  # fmt: skip


def _time(data: Data) -> str:
    return _table(data["tools"], {
        "task": str, "attempts": _count, "begun": _count, "cached": _count, "body_s": seconds, "calls_usd": money,
        "worker_usd": money,
    }) + _table(data["coordination"], {"phase": str, "seconds": seconds, "usd": money})  # fmt: skip


def _who(data: Data) -> str:
    parts = []
    for table, name in (("purposes", "purpose"), ("tenants", "tenant"), ("sessions", "session")):
        parts.append(_table(data[table], {name: str, "entries": _count, "usd": money, "share": part}))
    return "".join(parts)


_SECTIONS: Sequence[tuple[str, Callable[[Data], str]]] = (
    ("Cost by model, tool and coordination", _cost),
    ("Tokens per task type and skill", _tokens),
    ("Latency by phase", _latency),
    ("Cost against quality", _quality),
    ("Caches", _caches),
    ("Context utilisation", _context),
    ("Retries", _retries),
    ("Speculation, hedging and prefetching", _extras),
    ("Tools, workers and coordination", _time),
    ("By purpose, tenant and session", _who),
)

_NAMES = {
    "usd": "cost", "usd_per_call": "cost a call", "saved_usd": "saved", "calls_usd": "calls cost",
    "worker_usd": "workers cost", "body_s": "in bodies", "p50_s": "p50", "p95_s": "p95", "saved_s": "saved",
    "wasted_s": "in vain",
}  # fmt: skip


def _table(rows: Sequence[Row], columns: Mapping[str, Callable[[Any], str]]) -> str:
    if not rows:
        return "<p>none</p>"
    heads = "".join(
        f"<th{_side(make)}>{escape(_NAMES.get(name, name.replace('_', ' ')))}</th>" for name, make in columns.items()
    )
    lines = "".join(
        "<tr>" + "".join(f"<td{_side(make)}>{escape(make(row[name]))}</td>" for name, make in columns.items()) + "</tr>"
        for row in rows
    )
    return f'<div class="wide"><table><thead><tr>{heads}</tr></thead><tbody>{lines}</tbody></table></div>'


def _side(make: Callable[[Any], str]) -> str:
    return "" if make is str else ' class="n"'


def _count(number: int) -> str:
    return f"{number:,}"


def _named(row: Row) -> str:
    return str(row["task"]) if row["task"] == row["skill"] else f"{row['task']} · {row['skill']}"


_STYLE = """
:root{color-scheme:light dark;--ink:#1d2430;--soft:#5b6675;--line:#dfe4ea;--back:#fff;--card:#f5f7f9;
--c0:#2f6fde;--c1:#e0902f;--c2:#3c9d74;--c3:#9a5fc9;--c4:#d1495b}
@media(prefers-color-scheme:dark){:root{--ink:#e6eaf0;--soft:#98a4b3;--line:#333c48;--back:#14181e;--card:#1d232b;
--c0:#6ea2ff;--c1:#f0ad5b;--c2:#62c498;--c3:#bd8be6;--c4:#ef7d8c}}
body{margin:0;background:var(--back);color:var(--ink);font:15px/1.5 system-ui,sans-serif}
main{max-width:860px;margin:0 auto;padding:24px 20px}
h1{font-size:22px;margin:0 0 16px}h2{font-size:16px;margin:32px 0 8px}
.tiles{display:flex;flex-wrap:wrap;gap:10px}.tiles div{background:var(--card);border-radius:8px;padding:10px 14px}
.tiles b{display:block;font-size:18px;font-variant-numeric:tabular-nums}.tiles span,footer,p
{color:var(--soft);font-size:13px}
.wide{overflow-x:auto}table{border-collapse:collapse;width:100%;font-size:13px;margin:8px 0 16px}
th{text-align:left;color:var(--soft);font-weight:500}th,td{padding:4px 8px;border-bottom:1px solid var(--line)}
.n{text-align:right;font-variant-numeric:tabular-nums}
svg{max-width:100%;height:auto;font-size:12px}svg text{fill:var(--ink)}.grid{stroke:var(--line)}
.range{stroke:var(--soft);stroke-width:3}.s0{fill:var(--c0)}.s1{fill:var(--c1)}.s2{fill:var(--c2)}.s3{fill:var(--c3)}
.s4{fill:var(--c4)}circle{fill-opacity:.85}footer{margin-top:32px;border-top:1px solid var(--line);padding-top:12px}
"""
