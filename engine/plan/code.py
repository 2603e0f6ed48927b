"""A hash of a task's code, kept with its results, so that a rerun can tell which of them other code made.

What is hashed: the source of the top-level statement that the function is written in, and of every
top-level statement that it uses, directly or through others, in its own module and in modules of the
same package (``from .prices import total``); besides, plain values and functions that a closure holds.
Comments and blank lines do not count, docstrings and line breaks do. What is imported from elsewhere,
the engine and the versions of installed packages among it, is no part, and neither are files that the
code reads. A function without source has its bytecode hashed, one without either its name.

The hash does not depend on the process, the machine, or the folder that the modules lie in. Nothing
here runs any of the code, and only source files are read.
"""

from __future__ import annotations

import ast
import hashlib
import importlib.util
import inspect
import sys
import tokenize
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from functools import cached_property, lru_cache
from types import CodeType, FunctionType
from typing import Any

_HASH_LENGTH = 16  # hexadecimal digits: 64 bits, of which nobody forges one
_ENGINE = "engine"
_PLAIN = (str, bytes, int, float, bool, type(None))


def code_hash(function: Callable[..., Any]) -> str:
    """The hash of what ``function`` does, as its module's source says it; 16 hexadecimal digits."""
    parts: set[str] = set()
    _gather(function, parts, set())
    return _digest(sorted(parts))


def combined_hash(hashes: Mapping[str, str]) -> str:
    """One hash over those of several task types, by their names."""
    return _digest(f"{name}={hashes[name]}" for name in sorted(hashes))


def _gather(function: Callable[..., Any], parts: set[str], seen: set[int]) -> None:
    """Add to ``parts`` what ``function`` is made of."""
    function = inspect.unwrap(function)
    if id(function) in seen:
        return
    seen.add(id(function))
    if not isinstance(function, FunctionType):
        parts.add(f"{function.__module__}.{getattr(function, '__qualname__', type(function).__qualname__)}")
        return
    module = _module(function.__module__)
    start = None if module is None else module.statement_at(function.__code__.co_firstlineno)
    if module is None or start is None:
        parts.add(_bytecode(function.__code__))
    else:
        parts.update(statement.text for statement in _used(module, start))
    for cell in function.__closure__ or ():
        try:
            held = cell.cell_contents
        except ValueError:  # not filled yet: a function that refers to itself
            continue
        if isinstance(held, _PLAIN):
            parts.add(repr(held))
        elif isinstance(held, FunctionType):
            _gather(held, parts, seen)


class _Statement:
    """One top-level statement of a module."""

    def __init__(self, module: _Module, node: ast.stmt) -> None:
        self.node = node
        self._module = module
        decorators: list[ast.expr] = getattr(node, "decorator_list", [])
        self.first = min([node.lineno, *(each.lineno for each in decorators)])
        self.last = node.end_lineno or node.lineno

    @cached_property
    def text(self) -> str:
        """Its source without comments and blank lines."""
        lines = self._module.lines[self.first - 1 : self.last]
        bare = any("#" in line or not line.strip() for line in lines)
        return "\n".join(_uncommented(lines) if bare else lines)

    @cached_property
    def names(self) -> frozenset[str]:
        """Every name in it; a local one that hides a module's own is taken for that."""
        return frozenset(node.id for node in ast.walk(self.node) if isinstance(node, ast.Name))


class _Module:
    """A module's source, taken apart."""

    def __init__(self, name: str, package: str, source: str) -> None:
        self.name, self._package = name, package
        self.lines = source.splitlines()
        self.statements = [_Statement(self, node) for node in _flattened(ast.parse(source).body)]

    @cached_property
    def bound(self) -> dict[str, list[_Statement]]:
        """Which statements give a name its meaning."""
        found: dict[str, list[_Statement]] = {}
        for statement in self.statements:
            for name in _bound(statement.node):
                found.setdefault(name, []).append(statement)
        return found

    def statement_at(self, line: int) -> _Statement | None:
        """The statement that has ``line``."""
        return next((each for each in self.statements if each.first <= line <= each.last), None)

    def meant(self, name: str) -> Iterator[tuple[_Module, _Statement]]:
        """The statements that ``name`` stands for, those of imported modules of the same package included."""
        for statement in self.bound.get(name, ()):
            if isinstance(statement.node, ast.Import):
                for alias in statement.node.names:
                    if (alias.asname or alias.name.partition(".")[0]) == name:
                        yield from self._imported(alias.name, None)
            elif isinstance(statement.node, ast.ImportFrom):
                yield from self._imported_from(statement.node, name)
            else:
                yield self, statement

    def _imported_from(self, node: ast.ImportFrom, name: str) -> Iterator[tuple[_Module, _Statement]]:
        base = node.module or ""
        if node.level:
            try:
                base = importlib.util.resolve_name("." * node.level + base, self._package)
            except ImportError:
                return
        for alias in node.names:
            if (alias.asname or alias.name) == name:
                if f"{base}.{alias.name}" in sys.modules:
                    yield from self._imported(f"{base}.{alias.name}", None)
                else:
                    yield from self._imported(base, alias.name)

    def _imported(self, module_name: str, name: str | None) -> Iterator[tuple[_Module, _Statement]]:
        """What ``name`` stands for in another module; all of that module for ``None``."""
        top = self.name.partition(".")[0]
        if top == _ENGINE or module_name.partition(".")[0] != top or module_name == self.name:
            return
        module = _module(module_name)
        if module is None:
            return
        if name is not None:
            yield from module.meant(name)
        else:
            yield from ((module, statement) for statement in module.statements)


def _used(module: _Module, start: _Statement) -> set[_Statement]:
    """``start`` and every statement that it uses, directly or through others."""
    used = {start}
    todo = [(module, start)]
    while todo:
        place, statement = todo.pop()
        for name in statement.names:
            for found in place.meant(name):
                if found[1] not in used:
                    used.add(found[1])
                    todo.append(found)
    return used


def _module(name: str) -> _Module | None:
    """The module of that name, if it is imported and its source can be read."""
    module = sys.modules.get(name)
    if module is None:
        return None
    try:
        source = inspect.getsource(module)
    except (OSError, TypeError):
        return None
    package = getattr(module, "__package__", None) or name.rpartition(".")[0]
    return _parsed(name, package, source)


@lru_cache(maxsize=256)
def _parsed(name: str, package: str, source: str) -> _Module | None:
    try:
        return _Module(name, package, source)
    except (SyntaxError, ValueError):  # the file was edited after it was imported, and does not hold now
        return None


def _flattened(body: Iterable[ast.stmt]) -> Iterator[ast.stmt]:
    """Statements, with those inside ``if``, ``try`` and ``with`` one by one."""
    for node in body:
        inner = [*getattr(node, "body", ()), *getattr(node, "orelse", ()), *getattr(node, "finalbody", ())]
        for handler in getattr(node, "handlers", ()):
            inner += handler.body
        if inner and not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            yield from _flattened(inner)
        else:
            yield node


def _uncommented(lines: Sequence[str]) -> list[str]:
    """Lines without comments, and without those lines that hold nothing else; strings stay as they are."""
    kept: list[str | None] = list(lines)
    source = iter([*(f"{line}\n" for line in lines), ""])
    with suppress(tokenize.TokenError, IndentationError):  # a statement inside another is dedented at its end
        for token in tokenize.generate_tokens(lambda: next(source, "")):
            row, column = token.start
            if token.type == tokenize.COMMENT:
                kept[row - 1] = lines[row - 1][:column].rstrip() or None
            elif token.type == tokenize.NL and not lines[row - 1].strip():
                kept[row - 1] = None
    return [line for line in kept if line is not None]


def _bound(node: ast.stmt) -> Iterator[str]:
    """The names to which a statement gives a meaning."""
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        yield node.name
    elif isinstance(node, ast.Import):
        yield from (alias.asname or alias.name.partition(".")[0] for alias in node.names)
    elif isinstance(node, ast.ImportFrom):
        yield from (alias.asname or alias.name for alias in node.names)
    else:
        for part in ast.walk(node):
            if isinstance(part, ast.Name) and isinstance(part.ctx, ast.Store):
                yield part.id


def _bytecode(code: CodeType) -> str:
    """Bytecode as text that does not depend on the process."""
    consts = (_bytecode(const) if isinstance(const, CodeType) else _constant(const) for const in code.co_consts)
    return "\n".join([code.co_code.hex(), *code.co_names, *code.co_varnames, *consts])


def _constant(value: Any) -> str:
    if isinstance(value, frozenset):
        return f"frozenset({sorted(map(repr, value))})"  # its own order follows the process's hash seed
    return repr(value)


def _digest(parts: Iterable[str]) -> str:
    digest = hashlib.sha256()
    for part in parts:
        digest.update(f"{len(part)}:".encode() + part.encode("utf-8", "surrogatepass"))
    return digest.hexdigest()[:_HASH_LENGTH]
