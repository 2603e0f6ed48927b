"""How much of a context its result used: the share of its tokens in pieces that the result cites or overlaps.

A piece counts as used, with all its tokens, if the result names its mark (``[s3]``) or shares a run of five words with
it (four, three … for pieces or results that have fewer; case and punctuation do not count). Instructions and the
question are no part of it. What a result used without quoting or citing is not seen: the figure is a lower bound.

References
----------
Broder: On the resemblance and containment of documents. 1997 (shingles).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import ceil
from typing import Protocol

from engine.models.tokens import RATIOS, count, utf8_bytes

SHINGLE = 5
"""Words in a row that two texts must share."""

METHOD = f"pieces cited by mark or sharing {SHINGLE} words in a row; a lower bound"

_CITED = re.compile(r"\[(s\d+(?:\s*[,;]\s*s\d+)*)\]")


class Read(Protocol):
    """A piece of a context as far as its use is concerned."""

    @property
    def mark(self) -> str: ...
    @property
    def text(self) -> str: ...
    @property
    def tokens(self) -> int: ...


def cited(result: str) -> frozenset[str]:
    """The marks that a result cites: ``[s3]``, ``[s1, s4]``."""
    return frozenset(mark for group in _CITED.findall(result) for mark in re.findall(r"s\d+", group))


def used(pieces: Iterable[Read], result: str) -> frozenset[str]:
    """Marks of the pieces that the result cites or overlaps."""
    marks, said = cited(result), _words(_CITED.sub(" ", result))
    shingles: Mapping[int, frozenset[tuple[str, ...]]] = {n: _shingles(said, n) for n in range(1, SHINGLE + 1)}
    found = set()
    for piece in pieces:
        own = _words(piece.text)
        # A label or a number is no run of five words, but it can be all there is.
        length = max(1, min(SHINGLE, len(own), len(said)))
        if piece.mark in marks or (said and _shares(own, shingles[length], length)):
            found.add(piece.mark)
    return frozenset(found)


def utilisation(pieces: Iterable[Read], result: str) -> float | None:
    """Share of the pieces' tokens in those that the result used, in [0, 1]; ``None`` without pieces."""
    known = list(pieces)
    marks = used(known, result)
    whole = sum(piece.tokens for piece in known)
    return sum(piece.tokens for piece in known if piece.mark in marks) / whole if whole else None


def measured(texts: Sequence[str], result: str, model: str, *, by_bytes: bool = False) -> tuple[int, int]:
    """What a ledger entry says of a call: tokens of the pieces that were given, and of those that the result used.

    Parameters
    ----------
    texts
        The pieces, in the order of their marks ``s1``, ``s2`` …
    result
        What the model answered.
    model
        Whose tokens count.
    by_bytes
        Whether tokens are told from bytes, by what the model's provider counted so far: half the time, and the share
        is the same but for how densely pieces are written.
    """
    ratio = RATIOS.of(model) if by_bytes else 0.0
    sizes = [ceil(utf8_bytes(text) / ratio) if by_bytes else count(text, model) for text in texts]
    pieces = [_Given(f"s{place}", text, sizes[place - 1]) for place, text in enumerate(texts, 1)]
    marks = used(pieces, result)
    return sum(piece.tokens for piece in pieces), sum(piece.tokens for piece in pieces if piece.mark in marks)


@dataclass(frozen=True, slots=True)
class _Given:
    mark: str
    text: str
    tokens: int


def _words(text: str) -> list[str]:
    return re.findall(r"\w+", text.lower())


def _shares(own: list[str], shingles: frozenset[tuple[str, ...]], length: int) -> bool:
    # Most words of a piece begin no run of the result's: only the others are looked at.
    first = {each[0] for each in shingles}
    return any(tuple(own[at : at + length]) in shingles for at, word in enumerate(own) if word in first)


def _shingles(said: list[str], length: int) -> frozenset[tuple[str, ...]]:
    return frozenset(tuple(said[at : at + length]) for at in range(len(said) - length + 1))
