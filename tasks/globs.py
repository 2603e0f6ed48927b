"""Patterns for relative paths: ``*``, ``?``, ``[a-z]`` within one name, ``**`` over any number of folders.

A pattern without a slash is matched against a name at any depth, as in a ``.gitignore``; one with a
slash against the whole relative path. Python's own ``PurePath.full_match`` knows ``**`` only from 3.13.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

from engine.errors import Permanent


def matcher(patterns: Sequence[str]) -> Callable[[str], bool]:
    """Whether a relative path, its folders separated by ``/``, matches any of ``patterns``.

    Raises
    ------
    Permanent
        If a pattern is empty, absolute, or goes up with ``..``.
    """
    if not patterns:
        return lambda _: False
    joined = re.compile("|".join(f"(?:{_as_regex(pattern)})" for pattern in patterns))
    return lambda path: joined.fullmatch(path) is not None


def _as_regex(pattern: str) -> str:
    parts = pattern.split("/")
    if not pattern or parts[0] == "" or ".." in parts:
        raise Permanent(
            f"{pattern!r} is not a pattern for paths below the root: it must not be empty, absolute or go up"
        )
    if len(parts) == 1:
        return "(?:.*/)?" + _name(pattern) if pattern != "**" else ".*"
    regex = ""
    for position, part in enumerate(parts):
        last = position == len(parts) - 1
        if part == "**":
            regex += ".*" if last else "(?:[^/]+/)*"
        else:
            regex += _name(part) + ("" if last else "/")
    return regex


def _name(pattern: str) -> str:
    """One name's pattern as a regular expression; an unclosed ``[`` stands for itself."""
    regex, rest = "", pattern
    while rest:
        char, rest = rest[0], rest[1:]
        close = rest.find("]", 2 if rest[:1] == "!" else 1) if char == "[" else -1
        if char == "*":
            regex, rest = regex + "[^/]*", rest.lstrip("*")
        elif char == "?":
            regex += "[^/]"
        elif close > 0:
            chosen, rest = rest[:close], rest[close + 1 :]
            negated = chosen.startswith("!")
            inner = chosen[negated:].replace("\\", "\\\\").replace("[", "\\[").replace("^", "\\^").replace("]", "\\]")
            regex += f"(?!/)[{'^' if negated else ''}{_ordered(inner)}]"
        else:
            regex += re.escape(char)
    return regex


def _ordered(inner: str) -> str:
    """``inner`` without ranges that run backwards, which match nothing and which ``re`` refuses."""
    inner = inner.replace("&&", "&\\&").replace("||", "|\\|").replace("~~", "~\\~").replace("--", "\\-\\-")
    return re.sub(r"(\w)-(\w)", lambda m: m[0] if m[1] <= m[2] else f"{m[1]}\\-{m[2]}", inner)
