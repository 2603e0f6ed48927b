"""What ``data.group`` measures of a group."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from engine.errors import Permanent
from engine.plan.names import nearest
from tasks.rows import Row, field_of

LIST_MAX = 100_000
"""Values of one ``list``."""

_KINDS = ("count", "sum", "mean", "min", "max", "first", "last", "list")
_NUMERIC = frozenset({"sum", "mean"})


@dataclass(slots=True)
class _Measure:
    name: str
    kind: str
    field: str
    count: int = 0
    value: Any = None

    def add(self, row: Row) -> None:
        if self.kind == "count":
            self.count += 1
            return
        given = field_of(row, self.field)
        if given is None:
            return
        self.count += 1
        if self.kind == "list":
            if self.count > LIST_MAX:
                raise Permanent(f"{self.name}: a group has more than {LIST_MAX:,} values")
            self.value = [given] if self.value is None else self.value
            if self.count > 1:
                self.value.append(given)
        elif self.kind in _NUMERIC:
            if isinstance(given, bool) or not isinstance(given, int | float):
                raise Permanent(f"{self.name}: {str(given)[:40]!r} in {self.field!r} is no number")
            self.value = given if self.value is None else self.value + given
        elif self.value is None or self.kind == "last":
            self.value = given
        elif self.kind in ("min", "max"):
            self._compare(given)

    def _compare(self, given: Any) -> None:
        try:
            better = given < self.value if self.kind == "min" else given > self.value
        except TypeError as error:
            raise Permanent(f"{self.name}: values of different types in {self.field!r} have no {self.kind}") from error
        if better:
            self.value = given

    def result(self) -> Any:
        if self.kind == "count":
            return self.count
        if self.kind == "list":
            return self.value or []
        if self.kind == "sum":
            return self.value or 0
        return self.value / self.count if self.kind == "mean" and self.count else self.value


class Measures:
    """The measures of one group."""

    def __init__(self, wanted: Mapping[str, str]) -> None:
        self._measures = [_measure(name, text) for name, text in wanted.items()]

    def add(self, row: Row) -> None:
        """Take a row in; raises ``Permanent`` if one of its values cannot be measured."""
        for measure in self._measures:
            measure.add(row)

    def values(self) -> dict[str, Any]:
        """What was measured, by name."""
        return {measure.name: measure.result() for measure in self._measures}


def _measure(name: str, text: str) -> _Measure:
    kind, _, field = text.strip().partition(" ")
    if kind not in _KINDS:
        raise Permanent(f"measure {name!r}: there is no {kind!r}{nearest(kind, _KINDS)}; there are {', '.join(_KINDS)}")
    if bool(field.strip()) == (kind == "count"):
        raise Permanent(f"measure {name!r}: write count, or one of {', '.join(_KINDS[1:])} and a field: sum size")
    return _Measure(name, kind, field.strip())
