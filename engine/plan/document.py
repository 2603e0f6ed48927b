"""Plan files as data, with the place of everything in them.

Reads YAML from libyaml's events instead of its node tree: that is ten times faster on large files,
and deep nesting, which makes PyYAML's composer overflow the C stack and kill the process, ends at a
limit instead. Scalars follow YAML 1.2's core schema, so that ``on``, ``no``, ``12:30`` and dates stay
text. Aliases, anchors, tags and duplicate keys are refused. Knows nothing of plans.
"""

from __future__ import annotations

import math
import re
from typing import Any

import yaml

from engine.errors import PlanError, Problem

SIZE_LIMIT_BYTES = 5_000_000
DEPTH_LIMIT = 64

Loc = tuple[str | int, ...]
Positions = dict[Loc, tuple[int, int]]

_INTEGER = re.compile(r"[-+]?[0-9]{1,400}|0o[0-7]{1,400}|0x[0-9a-fA-F]{1,400}")
_NUMBER = re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?")
_NOT_FINITE = re.compile(r"[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)")
_WORDS: dict[str, Any] = {
    "": None, "~": None, "null": None, "Null": None, "NULL": None,
    "true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False,
}  # fmt: skip
_MISSING = object()


def decode(raw: bytes, file: str) -> str:
    """The text of a file's content; refuses what is too large or no UTF-8."""
    if len(raw) > SIZE_LIMIT_BYTES:
        raise PlanError([Problem(f"the file has {len(raw):,} bytes; at most {SIZE_LIMIT_BYTES:,} are read", file=file)])
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        column = error.start - (raw.rfind(b"\n", 0, error.start) + 1) + 1
        raise PlanError([Problem("the file is no UTF-8 text", file=file, line=line, column=column)]) from error


def read_yaml(text: str, file: str, positions: Positions | None = None) -> Any:
    """The data of one YAML document.

    Parameters
    ----------
    positions
        Filled, if given, with line and column (from 1) of each value, and of each mapping's key
        under the key's path followed by ``KEY``.

    Raises
    ------
    PlanError
        Naming every duplicate key, alias, anchor, tag and unfit scalar, or the first syntax error.
    """
    builder = _Builder(file, positions)
    try:
        for event in yaml.parse(text, Loader=yaml.CSafeLoader):
            builder.take(event)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line, column = (mark.line + 1, mark.column + 1) if mark else (None, None)
        builder.problems.append(Problem(f"this is no YAML: {error.problem}", file=file, line=line, column=column))
    except yaml.YAMLError as error:
        builder.problems.append(Problem(f"this is no YAML: {error}", file=file))
    except _TooDeep:
        pass
    if builder.problems:
        raise PlanError(builder.problems)
    return builder.root


KEY = "\0key"
"""Last part of the path under which a key's own position is kept."""


class _TooDeep(Exception):  # noqa: N818 - a signal to stop reading, not an error anybody sees
    pass


class _Frame:
    """A mapping or sequence that is being read."""

    __slots__ = ("container", "key", "loc")

    def __init__(self, container: dict[str, Any] | list[Any], loc: Loc) -> None:
        self.container = container
        self.loc = loc
        self.key: Any = _MISSING


class _Builder:
    """Puts events together to data; every oddity becomes a problem."""

    def __init__(self, file: str, positions: Positions | None) -> None:
        self.root: Any = None
        self.problems: list[Problem] = []
        self._file = file
        self._positions = positions
        self._stack: list[_Frame] = []
        self._documents = 0

    def take(self, event: Any) -> None:
        kind = type(event)
        if kind is yaml.ScalarEvent:
            self._check_marks(event)
            if self._expects_key():
                self._take_key(event)
            else:
                self._put(self._scalar(event), event)
        elif kind is yaml.MappingStartEvent:
            self._open({}, event)
        elif kind is yaml.SequenceStartEvent:
            self._open([], event)
        elif kind in (yaml.MappingEndEvent, yaml.SequenceEndEvent):
            self._stack.pop()
        elif kind is yaml.AliasEvent:
            self._refuse("aliases are refused: write it out", event)
            if self._expects_key():
                self._stack[-1].key = f"*{event.anchor}"
            else:
                self._put(None, event)
        elif kind is yaml.DocumentStartEvent:
            self._documents += 1
            if self._documents > 1:
                self._refuse("a plan file holds one document", event)

    def _expects_key(self) -> bool:
        frame = self._stack[-1] if self._stack else None
        return frame is not None and isinstance(frame.container, dict) and frame.key is _MISSING

    def _open(self, container: dict[str, Any] | list[Any], event: Any) -> None:
        self._check_marks(event)
        if len(self._stack) >= DEPTH_LIMIT:
            self._refuse(f"nested more than {DEPTH_LIMIT} deep", event)
            raise _TooDeep
        if self._expects_key():
            self._refuse("a key must be plain text", event)
            self._stack[-1].key = "?"
        loc = self._put(container, event)
        self._stack.append(_Frame(container, loc))

    def _take_key(self, event: Any) -> None:
        frame = self._stack[-1]
        key = event.value
        assert isinstance(frame.container, dict)
        if key in frame.container:
            self._refuse(f"the key {key!r} is there twice", event, frame.loc)
        elif key == "<<" and event.implicit[0]:
            self._refuse("merge keys are refused: write it out", event, frame.loc)
        frame.key = key
        if self._positions is not None:
            self._positions[(*frame.loc, key, KEY)] = _place(event)

    def _put(self, value: Any, event: Any) -> Loc:
        loc: Loc = ()
        if not self._stack:
            self.root = value
        else:
            frame = self._stack[-1]
            if isinstance(frame.container, dict):
                loc = (*frame.loc, frame.key) if self._positions is not None else ()
                frame.container[frame.key] = value
                frame.key = _MISSING
            else:
                loc = (*frame.loc, len(frame.container)) if self._positions is not None else ()
                frame.container.append(value)
        if self._positions is not None:
            self._positions[loc] = _place(event)
        return loc

    def _scalar(self, event: Any) -> Any:
        text: str = event.value
        if not event.implicit[0]:
            return text
        if text in _WORDS:
            return _WORDS[text]
        if text[0] in "+-.0123456789":
            return self._number(text, event)
        return text

    def _number(self, text: str, event: Any) -> Any:
        if _INTEGER.fullmatch(text):
            return int(text, 0) if text[:2] in ("0o", "0x") else int(text)
        if _NUMBER.fullmatch(text):
            number = float(text)
            if math.isfinite(number):
                return number
            self._refuse(f"{text} is too large a number", event)
        elif _NOT_FINITE.fullmatch(text):
            self._refuse(f"{text} has no place in JSON: give a finite number", event)
        return text

    def _check_marks(self, event: Any) -> None:
        if event.anchor is not None:
            self._refuse("anchors are refused: write it out where it is needed", event)
        if event.tag is not None and event.tag not in ("!", "tag:yaml.org,2002:str"):
            self._refuse(f"tags are refused: {event.tag}", event)

    def _refuse(self, message: str, event: Any, loc: Loc = ()) -> None:
        line, column = _place(event)
        where = ".".join(map(str, loc))
        if len(self.problems) < 100:
            self.problems.append(Problem(message, where=where, file=self._file, line=line, column=column))


def _place(event: Any) -> tuple[int, int]:
    return event.start_mark.line + 1, event.start_mark.column + 1
