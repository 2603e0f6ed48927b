"""The same data in fewer tokens, with nothing lost: lists of like objects as tables, JSON without its blanks.

What a tool gave is compacted once, when it enters a context: later changes would break the prefix that caches know.
"""

from __future__ import annotations

import json
import re
from typing import Any

_TABLE = frozenset({"columns", "rows"})


def compact(text: str) -> str:
    """``text`` shorter: JSON as ``compacted``, else without trailing blanks and runs of empty lines."""
    if text.lstrip()[:1] in ("{", "["):
        try:
            return compacted(json.loads(text, parse_constant=_refuse))
        except (ValueError, RecursionError):
            pass
    return re.sub(r"\n{3,}", "\n\n", re.sub(r"[ \t\r]+\n", "\n", text)).strip()


def compacted(value: Any) -> str:
    """Data as JSON without blanks, in which lists of objects with the same keys are tables.

    A table is ``{"columns": […], "rows": [[…], …]}``; ``same`` has the columns whose value is the same in every row,
    and ``depth`` is how many lists deep the rows lie, if more than one. Nested objects become columns ``a.b``.
    Raises ``ValueError`` for numbers that JSON has not.
    """
    plain = _written(value)
    if '"columns"' in plain and '"rows"' in plain:
        return plain  # could be taken for a table of ours
    return min(plain, _written(_tabled(value)), key=len)


def restored(text: str) -> Any:
    """The data that ``compacted`` was given; the order of an object's keys may be another."""
    return _restore(json.loads(text))


def _tabled(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _tabled(each) for key, each in value.items()}
    if not isinstance(value, list):
        return value
    depth, leaves = _depth(value), _leaves(value)
    if any("." in name for leaf in leaves for name in _names(leaf)):
        depth = 0  # `a.b` has to mean b of a
    objects = [_flat(leaf) for leaf in leaves] if depth else []
    if len(objects) < 2 or any(each.keys() != objects[0].keys() or not each for each in objects):
        return [_tabled(each) for each in value]
    kept = [{key: _tabled(each[key]) for key in objects[0]} for each in objects]
    written = [{key: _written(each) for key, each in one.items()} for one in kept]
    same = [key for key in written[0] if all(one[key] == written[0][key] for one in written)]
    columns = [key for key in kept[0] if key not in same]
    rows = iter([[one[key] for key in columns] for one in kept])
    table: dict[str, Any] = {"columns": columns, "rows": _shaped(value, depth, rows)}
    table |= {"same": {key: kept[0][key] for key in same}} if same else {}
    return table | ({"depth": depth} if depth > 1 else {})


def _depth(value: list[Any]) -> int:
    """How many lists deep the objects lie; 0 if not all do, or equally deep."""
    if not value:
        return 0
    if all(isinstance(each, dict) for each in value):
        return 1
    if all(isinstance(each, list) for each in value):
        depths = {_depth(each) for each in value}
        return depths.pop() + 1 if len(depths) == 1 and 0 not in depths else 0
    return 0


def _leaves(value: Any) -> list[Any]:
    return [leaf for each in value for leaf in _leaves(each)] if isinstance(value, list) else [value]


def _shaped(value: Any, depth: int, rows: Any) -> Any:
    return [_shaped(each, depth - 1, rows) for each in value] if depth else next(rows)


def _flat(value: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested objects as ``a.b``; an empty one stays a value."""
    flat: dict[str, Any] = {}
    for key, each in value.items():
        if isinstance(each, dict) and each:
            flat |= _flat(each, f"{prefix}{key}.")
        else:
            flat[prefix + key] = each
    return flat


def _names(value: Any) -> list[str]:
    if not isinstance(value, dict):
        return []
    return [name for key, each in value.items() for name in (key, *_names(each))]


def _restore(value: Any) -> Any:
    if isinstance(value, list):
        return [_restore(each) for each in value]
    if not isinstance(value, dict):
        return value
    if not value.keys() >= _TABLE:
        return {key: _restore(each) for key, each in value.items()}
    same, columns = value.get("same", {}), value["columns"]

    def row(rows: Any, depth: int) -> Any:
        if depth:
            return [row(each, depth - 1) for each in rows]
        flat = same | dict(zip(columns, rows, strict=True))
        return _deep({key: _restore(each) for key, each in flat.items()})

    return row(value["rows"], value.get("depth", 1))


def _deep(flat: dict[str, Any]) -> dict[str, Any]:
    deep: dict[str, Any] = {}
    for name, each in flat.items():
        *path, last = name.split(".")
        at = deep
        for key in path:
            at = at.setdefault(key, {})
        at[last] = each
    return deep


def _written(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)


def _refuse(constant: str) -> Any:
    raise ValueError(f"{constant} is no JSON")
