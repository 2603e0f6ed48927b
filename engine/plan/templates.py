"""Templates in a step's ``with``: ``{{ … }}`` in strings, rendered under limits.

A string that is exactly one lone reference is replaced by the value itself, its type kept; every
other string with a template in it becomes text. Rendered in workers, on any thread. Must not read
files, the network or the clock.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import Any

from jinja2 import TemplateError

from engine.errors import Permanent
from engine.plan.document import Loc
from engine.plan.limits import TEXT_LIMIT, Budget, TooMuch
from engine.plan.references import (
    NOTHING,
    MissingName,
    Path,
    References,
    collect,
    follow,
    lone_reference,
)
from engine.plan.sandbox import BadTemplate, chunks, references_of

__all__ = ["Path", "References", "has_template", "lone_reference", "placed_texts", "references", "render", "texts"]

_MARKS = ("{{", "{%", "{#")


def has_template(text: str) -> bool:
    """Whether a string is more than itself."""
    return "{" in text and any(mark in text for mark in _MARKS)


def render(tree: Any, environment: Mapping[str, Any], *, limit: int = TEXT_LIMIT) -> Any:
    """``tree`` with every template in it replaced.

    Parameters
    ----------
    tree
        JSON data; keys are left as they are.
    environment
        What ``inputs``, ``steps``, ``item``, ``index`` and ``run`` stand for: plain JSON data.
    limit
        Characters of text that may be made in all.

    Raises
    ------
    Permanent
        A template is bad, names what is not there, or would do too much.
    """
    return _Rendering(environment, limit).tree(tree)


class _Rendering:
    """One call of ``render``: its budget and what it has written so far."""

    def __init__(self, environment: Mapping[str, Any], limit: int) -> None:
        self._environment = environment
        self._budget = Budget()
        self._limit = limit
        self._written = 0

    def tree(self, tree: Any) -> Any:
        if isinstance(tree, str):
            return self._string(tree) if has_template(tree) else tree
        if isinstance(tree, dict):
            return {key: self.tree(value) for key, value in tree.items()}
        if isinstance(tree, list):
            return [self.tree(value) for value in tree]
        return tree

    def _string(self, text: str) -> Any:
        try:
            path = lone_reference(text)
            return follow(path, self._environment) if path else self._text(text)
        except (MissingName, BadTemplate, TooMuch, TemplateError) as error:
            raise Permanent(f"{_shortened(text)}: {error}") from error
        except (TypeError, ValueError, ArithmeticError, LookupError, AttributeError, RecursionError) as error:
            raise Permanent(f"{_shortened(text)}: {type(error).__name__}: {error}") from error

    def _text(self, text: str) -> str:
        pieces = []
        for piece in chunks(text, self._environment, self._budget):
            self._written += len(piece)
            if self._written > self._limit:
                raise TooMuch(f"the text is longer than {self._limit:,} characters")
            pieces.append(piece)
        return "".join(pieces)


def references(tree: Any) -> References:
    """What the templates in ``tree`` refer to; bad templates are among its ``problems``."""
    paths: set[Path] = set()
    problems: list[str] = []
    for text in texts(tree):
        path = lone_reference(text)
        if path:
            paths.add(path)
            continue
        used, wrong = _of_text(text)
        paths |= used
        problems += wrong
    if not paths and not problems:
        return NOTHING
    found = collect(paths)
    return References(found.paths, (*problems, *found.problems))


@lru_cache(maxsize=8192)
def _of_text(text: str) -> tuple[frozenset[Path], tuple[str, ...]]:
    """The paths that one template uses, or why it is none."""
    try:
        return references_of(text).paths, ()
    except BadTemplate as error:
        return frozenset(), (f"{_shortened(text)}: {error}",)


def texts(tree: Any) -> Iterator[str]:
    """Every string in ``tree`` that holds a template."""
    stack = [tree]
    while stack:
        value = stack.pop()
        if isinstance(value, str):
            if has_template(value):
                yield value
        elif isinstance(value, dict):
            stack.extend(value.values())
        elif isinstance(value, list):
            stack.extend(value)


def placed_texts(tree: Any, where: Loc = ()) -> Iterator[tuple[Loc, str]]:
    """The same, each with its path, in the order of writing; slower, for telling what is wrong."""
    if isinstance(tree, str):
        if has_template(tree):
            yield where, tree
    elif isinstance(tree, dict | list):
        for part, value in tree.items() if isinstance(tree, dict) else enumerate(tree):
            yield from placed_texts(value, (*where, part))


def _shortened(text: str) -> str:
    return text if len(text) <= 80 else f"{text[:77]}…"
