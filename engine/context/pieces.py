"""Sources of a context and the pieces that they come apart into. Does no input or output: texts are handed in."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from engine.context.compaction import compact, compacted
from engine.context.symbols import parts as symbol_parts

Kind = Literal["file", "step", "tool", "text"]

PIECE_CHARS = 1_600
"""Characters of a piece at most, about 400 tokens: small enough to leave out, large enough to make sense."""


@dataclass(frozen=True, slots=True)
class Source:
    """A text that a context may draw on.

    Parameters
    ----------
    name
        What it is cited by: a file's path, a step, a tool.
    text
        Its whole text.
    kind
        ``file``, ``step`` (a step's output), ``tool`` (what a tool gave) or ``text``.
    """

    name: str
    text: str
    kind: Kind = "text"


@dataclass(frozen=True, slots=True)
class Piece:
    """A part of a source that is taken or left whole.

    Parameters
    ----------
    source
        Name of its source; ``order`` is the source's place among those given.
    first, last
        Its lines, counted from 1.
    text
        As in the source, without the blank lines around it.
    symbol
        What it defines, for source code: ``Class.method``; empty otherwise.
    """

    source: str
    order: int
    first: int
    last: int
    text: str
    symbol: str = ""
    kind: Kind = "text"


def source_of(name: str, value: Any, kind: Kind = "step") -> Source:
    """A source of a step's output or a tool's result: data in compact JSON, which loses nothing, text as it is."""
    return Source(name, compact(value) if isinstance(value, str) else compacted(value), kind)


def pieces_of(sources: Sequence[Source], size: int = PIECE_CHARS) -> list[Piece]:
    """The pieces of all sources, in order: code by its symbols, data by its elements, text by its paragraphs."""
    return [piece for order, source in enumerate(sources) for piece in _split(order, source, size)]


def _split(order: int, source: Source, size: int) -> Iterator[Piece]:
    if source.name.endswith(".py") and (parts := symbol_parts(source.name, source.text)):
        for part in parts:
            for first, last, text in _cut(part.text, part.first, size):
                yield Piece(source.name, order, first, last, text, part.name, source.kind)
        return
    for first, last, text in _elements(source.text, size) or _paragraphs(source.text, size):
        yield Piece(source.name, order, first, last, text, "", source.kind)


def _elements(text: str, size: int) -> list[tuple[int, int, str]]:
    """A long JSON list by its elements; nothing for other texts."""
    if len(text) <= size or not text.lstrip().startswith("["):
        return []
    try:
        values = json.loads(text)
    except ValueError:
        return []
    groups: list[tuple[int, int, str]] = []
    begin, batch = 0, ""
    for number, value in enumerate(values):
        line = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
        if batch and len(batch) + len(line) >= size:
            groups.append((begin + 1, number, batch))
            begin, batch = number, ""
        batch += ("\n" if batch else "") + line
    return [*groups, (begin + 1, len(values), batch)] if batch else groups


def _paragraphs(text: str, size: int) -> Iterator[tuple[int, int, str]]:
    """Paragraphs put together up to ``size``; a heading begins a piece of its own."""
    begin, batch = 1, ""
    for first, paragraph in _blocks(text):
        if batch and (len(batch) + len(paragraph) >= size or paragraph.startswith("#")):
            yield from _cut(batch, begin, size)
            batch = ""
        if batch:
            batch += "\n\n" + paragraph
        else:
            begin, batch = first, paragraph
    if batch:
        yield from _cut(batch, begin, size)


def _blocks(text: str) -> Iterator[tuple[int, str]]:
    line = 1
    for number, part in enumerate(re.split(r"(\n[ \t]*(?:\n[ \t]*)+)", text)):
        if number % 2 == 0 and part.strip():
            yield line, part
        line += part.count("\n")


def _cut(text: str, first: int, size: int) -> Iterator[tuple[int, int, str]]:
    """Whole lines up to ``size`` characters; a longer line is cut."""
    batch: list[str] = []
    length, begin = 0, first
    for number, line in enumerate(text.split("\n"), first):
        for part in [line[at : at + size] for at in range(0, len(line), size)] or [""]:
            if batch and length + len(part) > size:
                yield begin, max(begin, number - 1), "\n".join(batch)
                batch, length, begin = [], 0, number
            batch.append(part)
            length += len(part) + 1
    if any(part.strip() for part in batch):
        yield begin, first + text.count("\n"), "\n".join(batch)
