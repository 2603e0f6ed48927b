"""Where a plan came from, and where in that file each part of it is.

Asked only when something is wrong: the file's text is then walked once more for the parts in
question, so that reading a sound plan pays nothing for positions. Knows nothing of plans.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import yaml

from engine.plan.document import Loc

Place = tuple[int, int | None]
"""Line and column, both from 1; a Python plan knows no columns."""

_ESCAPED = re.compile(r"\\u[0-9a-fA-F]{4}")


@dataclass(frozen=True, slots=True, eq=False)
class Source:
    """Where a plan came from. Never part of what the plan is: any two are equal.

    Parameters
    ----------
    file
        Its name as it is shown; ``None`` for a plan that was not read from a file.
    text
        The file's text; empty for a Python plan.
    lines
        For a Python plan the line on which each step is called.
    """

    file: str | None = None
    text: str = field(default="", repr=False)
    lines: Mapping[str, int] = field(default_factory=dict)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Source)

    __hash__ = None  # type: ignore[assignment]  # equal to every other, so no key of anything

    def places(self, wanted: Iterable[Loc]) -> dict[Loc, Spot]:
        """The spot of each path; where the file holds no such path, that of the longest part of it there is."""
        if not self.text:
            return {loc: self._line_of(loc) for loc in wanted}
        root = _Branch()
        for loc in wanted:
            root.grow(loc)
        json = (self.file or "").endswith(".json")  # whose escapes YAML does not all know: stand-ins of their length
        _Walk(root).through(_ESCAPED.sub(r"\\u0020", self.text) if json else self.text)
        return {loc: root.follow(loc) for loc in wanted}

    def _line_of(self, loc: Loc) -> Spot:
        line = self.lines.get(str(loc[1])) if len(loc) > 1 and loc[0] == "steps" else None
        place = None if line is None else (line, None)
        return Spot(place, place, len(loc))


@dataclass(frozen=True, slots=True)
class Spot:
    """Place of a value and of the key it is under; ``depth`` parts of the path asked for are really there."""

    value: Place | None = None
    key: Place | None = None
    depth: int = 0


class _Branch:
    """The parts asked for as a tree, each with where it was found."""

    __slots__ = ("branches", "key", "value")

    def __init__(self) -> None:
        self.branches: dict[str | int, _Branch] = {}
        self.key: Place | None = None
        self.value: Place | None = None

    def grow(self, loc: Loc) -> None:
        branch = self
        for part in loc:
            branch = branch.branches.setdefault(part, _Branch())

    def follow(self, loc: Loc) -> Spot:
        branch, depth = self, 0
        for part in loc:
            if branch.branches[part].value is None:
                break
            branch = branch.branches[part]
            depth += 1
        return Spot(branch.value, branch.key, depth)


class _Walk:
    """One pass over a text's events; whatever nobody asked about is skipped."""

    def __init__(self, root: _Branch) -> None:
        self._next: _Branch | None = root
        self._stack: list[tuple[_Branch, bool]] = []
        self._index: list[int] = []
        self._skipping = 0

    def through(self, text: str) -> None:
        try:
            for event in yaml.parse(text, Loader=yaml.CSafeLoader):
                kind = type(event)
                if self._skipping:
                    self._skip(kind)
                elif kind in (yaml.MappingStartEvent, yaml.SequenceStartEvent):
                    self._open(event, kind is yaml.MappingStartEvent)
                elif kind in (yaml.MappingEndEvent, yaml.SequenceEndEvent):
                    self._stack.pop()
                    self._index.pop()
                    self._turn()
                elif kind in (yaml.ScalarEvent, yaml.AliasEvent):
                    self._scalar(event)
        except (yaml.YAMLError, IndexError):
            return  # the text ends in what is no YAML: what came before it has its places

    def _skip(self, kind: type) -> None:
        if kind in (yaml.MappingStartEvent, yaml.SequenceStartEvent):
            self._skipping += 1
        elif kind in (yaml.MappingEndEvent, yaml.SequenceEndEvent):
            self._skipping -= 1
            if not self._skipping:
                self._turn()

    def _open(self, event: Any, is_mapping: bool) -> None:
        branch = self._next
        if branch is not None and branch.value is None:
            branch.value = _place(event)
        if branch is None or not branch.branches:
            self._skipping = 1
            return
        self._stack.append((branch, is_mapping))
        self._index.append(0)
        self._next = None if is_mapping else branch.branches.get(0)

    def _scalar(self, event: Any) -> None:
        if self._stack and self._stack[-1][1] and self._index[-1] % 2 == 0:
            branch = self._stack[-1][0].branches.get(getattr(event, "value", ""))
            if branch is not None and branch.key is None:
                branch.key = _place(event)
            self._next = branch
            self._index[-1] += 1
            return
        if self._next is not None and self._next.value is None:
            self._next.value = _place(event)
        self._turn()

    def _turn(self) -> None:
        """A value has ended: in a sequence the next one follows, in a mapping a key."""
        if self._stack:
            branch, is_mapping = self._stack[-1]
            self._index[-1] += 1
            self._next = None if is_mapping else branch.branches.get(self._index[-1])


def _place(event: Any) -> Place:
    return event.start_mark.line + 1, event.start_mark.column + 1
