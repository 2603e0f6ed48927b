"""Plan files as data.

Reads YAML from libyaml's events instead of its node tree: that is ten times faster on large files,
and deep nesting, which makes PyYAML's composer overflow the C stack and kill the process, ends at a
limit instead. Scalars follow YAML 1.2's core schema, so that ``on``, ``no``, ``12:30`` and dates stay
text. Aliases, anchors, tags and duplicate keys are refused. Knows nothing of plans; where things are
in a file is ``engine.plan.source``'s.
"""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from typing import Any

import orjson
import yaml

from engine.errors import PlanError, Problem

SIZE_LIMIT_BYTES = 5_000_000
DEPTH_LIMIT = 64
PROBLEMS_LIMIT = 100
"""More than anybody reads."""

Loc = tuple[str | int, ...]
"""Path to a value: keys of mappings and indexes of lists."""

_INTEGER = re.compile(r"[-+]?[0-9]{1,400}|0o[0-7]{1,400}|0x[0-9a-fA-F]{1,400}")
_NUMBER = re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?")
_NOT_FINITE = re.compile(r"[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)")
NUMBERS = re.compile(rf"(?:{_INTEGER.pattern}|{_NUMBER.pattern}|{_NOT_FINITE.pattern})\Z")
"""Texts that are read as numbers, or refused as such, unless they are quoted."""
_WORDS: dict[str, Any] = {
    "": None, "~": None, "null": None, "Null": None, "NULL": None,
    "true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False,
}  # fmt: skip
_MISSING = object()


def decode(raw: bytes, file: str) -> str:
    """The text of a file's content; refuses what is too large or no UTF-8."""
    if len(raw) > SIZE_LIMIT_BYTES:
        raise PlanError([Problem(f"the file is too large: at most {SIZE_LIMIT_BYTES:,} bytes are read", file=file)])
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        column = error.start - (raw.rfind(b"\n", 0, error.start) + 1) + 1
        raise PlanError([Problem("the file is no UTF-8 text", file=file, line=line, column=column)]) from error


def read_yaml(text: str, file: str) -> Any:
    """The data of one YAML document.

    Raises
    ------
    PlanError
        Naming every duplicate key, alias, anchor, tag and unfit scalar, or the first syntax error.
    """
    data, problems, _ = gather_yaml(text, file)
    if problems:
        raise PlanError(problems)
    return data


def gather_yaml(text: str, file: str) -> tuple[Any, list[Problem], bool]:
    """The data as far as it can be read, what is wrong with it, and whether it was read to its end."""
    builder = _Builder(file)
    whole = True
    try:
        for event in yaml.parse(text, Loader=yaml.CSafeLoader):
            builder.take(event)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line, column = (mark.line + 1, mark.column + 1) if mark else (None, None)
        message = f"this is no YAML: {error.problem}{_begun(error)}"
        builder.problems.append(Problem(message, file=file, line=line, column=column))
        whole = False
    except yaml.YAMLError as error:
        builder.problems.append(_unreadable(error, text, file))
        whole = False
    except _Lost:
        whole = False
    return builder.root, builder.problems, whole


def _begun(error: yaml.MarkedYAMLError) -> str:
    """What was being read, and since where: a quote that never ends is noticed at the end of the file."""
    if not error.context or error.context_mark is None:
        return ""
    return f" {error.context} that begins at line {error.context_mark.line + 1}, column {error.context_mark.column + 1}"


def gather_json(text: str, file: str) -> tuple[Any, list[Problem], bool]:
    """The same for JSON, which YAML's reader would take for the most part only: ``\\ud83d\\ude00``."""
    twice: dict[str, None] = {}

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        entries = dict(pairs)
        if len(entries) < len(pairs):
            twice.update((key, None) for key, count in Counter(key for key, _ in pairs).items() if count > 1)
        return entries

    try:
        data = json.loads(text, object_pairs_hook=unique, parse_float=_finite, parse_constant=_finite)
        orjson.dumps(data)
    except json.JSONDecodeError as error:
        return None, [Problem(f"this is no JSON: {error.msg}", file=file, line=error.lineno, column=error.colno)], False
    except (RecursionError, ValueError, TypeError) as error:
        # Besides depth: numbers of more than 64 bits, and halves of characters such as "\\ud800".
        why = f"nested more than {DEPTH_LIMIT} deep" if isinstance(error, RecursionError) else str(error)
        return None, [Problem(f"this is no JSON that can be read: {why}", file=file)], False
    if _depth(data) > DEPTH_LIMIT:
        return None, [Problem(f"nested more than {DEPTH_LIMIT} deep", file=file)], False
    return data, [Problem(f"the key {key!r} is there twice", file=file) for key in twice], True


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"{text} is too large a number, or none")
    return number


def _depth(data: Any) -> int:
    depth, level = 0, [data]
    while level and depth <= DEPTH_LIMIT:
        level = [
            entry
            for value in level
            if isinstance(value, dict | list)
            for entry in (value.values() if isinstance(value, dict) else value)
        ]
        depth += 1
    return depth


def _unreadable(error: yaml.YAMLError, text: str, file: str) -> Problem:
    """A character that YAML does not allow, such as a control character."""
    position, character = getattr(error, "position", None), getattr(error, "character", None)
    if position is None:
        return Problem(f"this is no YAML: {error}", file=file)
    shown = f"{character:#x}" if isinstance(character, int) else repr(character)
    # libyaml counts bytes here.
    before = text.encode()[:position].decode(errors="ignore")
    line, column = before.count("\n") + 1, len(before) - before.rfind("\n")
    return Problem(f"the character {shown} has no place in a text file", file=file, line=line, column=column)


class _Lost(Exception):  # noqa: N818 - a signal to stop reading, not an error anybody sees
    pass


class _Frame:
    """A mapping or sequence that is being read."""

    __slots__ = ("at", "container", "key")

    def __init__(self, container: dict[str, Any] | list[Any]) -> None:
        self.container = container
        self.key: Any = _MISSING
        self.at: Any = 0  # the key of the value that is being read


class _Builder:
    """Puts events together to data; every oddity becomes a problem."""

    def __init__(self, file: str) -> None:
        self.root: Any = None
        self.problems: list[Problem] = []
        self._file = file
        self._stack: list[_Frame] = []
        self._documents = 0
        self._aliases: set[str] = set()

    def take(self, event: Any) -> None:
        kind = type(event)
        if kind is yaml.ScalarEvent:
            self._check_marks(event)
            if self._expects_key():
                self._take_key(event)
            else:
                self._put(self._scalar(event))
        elif kind is yaml.MappingStartEvent:
            self._open({}, event)
        elif kind is yaml.SequenceStartEvent:
            self._open([], event)
        elif kind in (yaml.MappingEndEvent, yaml.SequenceEndEvent):
            self._stack.pop()
        elif kind is yaml.AliasEvent:
            if event.anchor not in self._aliases:
                self._aliases.add(event.anchor)
                self._refuse("aliases are refused: write it out", event)
            if self._expects_key():
                self._stack[-1].key = f"*{event.anchor}"
            else:
                self._put(None)
        elif kind is yaml.DocumentStartEvent:
            self._documents += 1
            if self._documents > 1:
                self._refuse("a plan file holds one document", event)
                raise _Lost

    def _expects_key(self) -> bool:
        frame = self._stack[-1] if self._stack else None
        return frame is not None and isinstance(frame.container, dict) and frame.key is _MISSING

    def _open(self, container: dict[str, Any] | list[Any], event: Any) -> None:
        self._check_marks(event)
        if len(self._stack) >= DEPTH_LIMIT:
            self._refuse(f"nested more than {DEPTH_LIMIT} deep", event)
            raise _Lost
        if self._expects_key():
            self._refuse("a key must be plain text; put a template in quotes", event)
            raise _Lost
        self._put(container)
        self._stack.append(_Frame(container))

    def _take_key(self, event: Any) -> None:
        frame = self._stack[-1]
        key = event.value
        assert isinstance(frame.container, dict)
        if key in frame.container:
            self._refuse(f"the key {key!r} is there twice", event, with_path=True)
        elif key == "<<" and event.implicit[0]:
            self._refuse("merge keys are refused: write it out", event, with_path=True)
        frame.key = key

    def _put(self, value: Any) -> None:
        if not self._stack:
            self.root = value
            return
        frame = self._stack[-1]
        if isinstance(frame.container, dict):
            frame.container[frame.key] = value
            frame.at = frame.key
            frame.key = _MISSING
        else:
            frame.container.append(value)

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
            whole = int(text, 0) if text[:2] in ("0o", "0x") else int(text)
            if not -(2**63) <= whole < 2**64:
                self._refuse(f"{text[:40]} is too large a whole number; put it in quotes", event)
            return whole
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

    def _refuse(self, message: str, event: Any, *, with_path: bool = False) -> None:
        if len(self.problems) < PROBLEMS_LIMIT:
            mark = event.start_mark
            where = ".".join(self._path()) if with_path else ""
            self.problems.append(Problem(message, where, self._file, mark.line + 1, mark.column + 1))

    def _path(self) -> list[str]:
        """Where the innermost mapping or sequence is."""
        above = self._stack[:-1]
        return [str(len(frame.container) - 1 if isinstance(frame.container, list) else frame.at) for frame in above]
