"""What Python source defines, and who calls whom: a graph of symbols, read by tree-sitter.

Names are matched by their last part, as they are written: a graph for choosing what to show, not a type checker.
Source that does not parse is taken as far as it does. Without the extra ``context`` there are no symbols, and code
is cut like any text.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib.util import find_spec
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tree_sitter import Node, Parser, Query

_AMBIGUOUS = 6
"""A name defined in more places than this (``get``, ``run``) says too little to follow."""

_SEED, _CALLEE, _CALLER, _TEST, _SIBLING = 1.0, 0.7, 0.6, 0.5, 0.3
"""How much what stands in such a relation to what is asked about is worth, beside it."""


@dataclass(frozen=True, slots=True)
class Part:
    """A stretch of a source file: a function, a method, a class without its methods, or what stands between.

    Parameters
    ----------
    path
        The file.
    name
        ``Class.method``; empty for what defines nothing.
    first, last
        Lines, counted from 1.
    calls
        Last parts of the names called in it.
    """

    path: str
    name: str
    first: int
    last: int
    text: str
    calls: frozenset[str] = frozenset()

    @property
    def test(self) -> bool:
        """Whether it is a test, by its own or its file's name."""
        file = self.path.rsplit("/", 1)[-1]
        return self.name.rsplit(".", 1)[-1].startswith("test") or file.startswith("test_") or file.endswith("_test.py")


def available() -> bool:
    """Whether the extra is here."""
    return find_spec("tree_sitter") is not None and find_spec("tree_sitter_python") is not None


@lru_cache(maxsize=1024)
def parts(path: str, text: str) -> tuple[Part, ...]:
    """The stretches of a file, in order, every line that is not blank in exactly one; empty without the extra."""
    if not available() or not text.strip():
        return ()
    data = text.encode("utf-8", "surrogatepass")
    root = _parser().parse(data).root_node
    called = _called(root)
    lines = text.split("\n")
    starts = [(node.start_point[0], node.end_point[0], name, node) for name, node in _definitions(root, "")]
    bounds: list[tuple[int, int, str, frozenset[str]]] = []
    at = 0
    for first, last, name, node in sorted(starts, key=lambda each: (each[0], -each[1])):
        if first < at:
            continue  # two definitions on one line: the first has it
        inner = [start for start, _, _, other in starts if other is not node and first < start <= last]
        end = min(inner, default=last + 1) - 1 if node.type == "class_definition" or _class_in(node) else last
        if first > at:
            bounds.append((at, first - 1, "", frozenset()))
        bounds.append((first, max(first, end), name, _within(called, node)))
        at = max(first, end) + 1
    if at < len(lines):
        bounds.append((at, len(lines) - 1, "", frozenset()))
    made = (
        Part(path, name, first + 1, last + 1, "\n".join(lines[first : last + 1]).strip("\n"), calls)
        for first, last, name, calls in bounds
    )
    return tuple(part for part in made if part.text.strip())


class SymbolGraph:
    """Definitions of several files, and what calls what.

    Parameters
    ----------
    files
        Text by path; those that are no Python are passed over.
    """

    def __init__(self, files: Mapping[str, str]) -> None:
        self.parts = tuple(part for path, text in files.items() if path.endswith(".py") for part in parts(path, text))
        self._named: dict[str, list[Part]] = defaultdict(list)
        self._called: dict[str, list[Part]] = defaultdict(list)
        for part in self.parts:
            if part.name:
                self._named[part.name.rsplit(".", 1)[-1]].append(part)
            for name in part.calls:
                self._called[name].append(part)

    def found(self, name: str) -> tuple[Part, ...]:
        """What ``name`` is, given in full (``Class.method``) or by its last part."""
        named = self._named.get(name.rsplit(".", 1)[-1], [])
        return tuple(part for part in named if part.name == name or part.name.endswith(f".{name}"))

    def mentioned(self, text: str) -> tuple[Part, ...]:
        """What a text names, if it is written as code is: with an underscore, a capital, a dot or a call's brackets."""
        words = dict.fromkeys(re.findall(r"[A-Za-z_][\w.]*(?:\(\))?", text))
        names = [word for word in words if re.search(r"[_.()]|[a-z][A-Z]|^[A-Z][a-z]+[A-Za-z]*$", word)]
        return tuple(part for name in names for part in self.found(name.removesuffix("()").strip(".")))

    def around(self, seeds: Iterable[Part]) -> dict[Part, float]:
        """The seeds, what they call, what calls them, their tests and the classes they are in, each with its worth."""
        worth: dict[Part, float] = {}

        def see(part: Part, much: float) -> None:
            worth[part] = max(much, worth.get(part, 0.0))

        for seed in seeds:
            see(seed, _SEED)
            for name in sorted(seed.calls):
                if len(named := self._named.get(name, [])) <= _AMBIGUOUS:
                    for part in named:
                        see(part, _CALLEE)
            last = seed.name.rsplit(".", 1)[-1]
            if seed.name and len(self._named[last]) <= _AMBIGUOUS:
                for part in self._called.get(last, []):
                    see(part, _TEST if part.test else _CALLER)
            if "." in seed.name:
                for part in self.found(seed.name.rsplit(".", 1)[0]):
                    if part.path == seed.path:
                        see(part, _SIBLING)
        return worth


@lru_cache(maxsize=1)
def _parser() -> Parser:
    import tree_sitter  # an extra
    import tree_sitter_python

    return tree_sitter.Parser(tree_sitter.Language(tree_sitter_python.language()))


def _definitions(node: Node, prefix: str) -> Iterator[tuple[str, Node]]:
    """Functions and classes, with decorators, not those inside functions."""
    for child in node.children:
        inner = child.child_by_field_name("definition") if child.type == "decorated_definition" else child
        if inner is None or inner.type not in ("function_definition", "class_definition"):
            if child.type in ("if_statement", "try_statement", "block", "else_clause", "except_clause", "ERROR"):
                yield from _definitions(child, prefix)
            continue
        name = prefix + _name(inner)
        yield name, child
        if inner.type == "class_definition" and (body := inner.child_by_field_name("body")):
            yield from _definitions(body, f"{name}.")


def _class_in(node: Node) -> bool:
    inner = node.child_by_field_name("definition")
    return inner is not None and inner.type == "class_definition"


def _name(node: Node) -> str:
    name = node.child_by_field_name("name")
    return "" if name is None or name.text is None else name.text.decode("utf-8", "replace")


def _called(root: Node) -> list[tuple[int, str]]:
    """Where each call begins and the last part of what it calls, in order: found by the library, not node by node."""
    import tree_sitter  # an extra

    found = tree_sitter.QueryCursor(_calls()).captures(root).get("name", [])
    return sorted((node.start_byte, node.text.decode("utf-8", "replace")) for node in found if node.text is not None)


@lru_cache(maxsize=1)
def _calls() -> Query:
    import tree_sitter  # an extra
    import tree_sitter_python

    language = tree_sitter.Language(tree_sitter_python.language())
    return tree_sitter.Query(
        language, "(call function: [(identifier) @name (attribute attribute: (identifier) @name)])"
    )


def _within(called: Sequence[tuple[int, str]], node: Node) -> frozenset[str]:
    first, last = (bisect_left(called, (at, "")) for at in (node.start_byte, node.end_byte))
    return frozenset(name for _, name in called[first:last])
