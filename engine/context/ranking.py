"""Which pieces answer a question best: BM25 over words, with the neighbourhood of the symbols that it names.

References
----------
Robertson, Zaragoza: The Probabilistic Relevance Framework: BM25 and Beyond. 2009.
Lù: BM25S: Orders of magnitude faster lexical search. arXiv 2407.03618, 2024.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from engine.context.pieces import Piece, Source
from engine.context.symbols import Part, SymbolGraph

_WORD = re.compile(r"[^\W_]+")
_HUMP = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")
_COMMON = frozenset(
    _WORD.findall(
        "a an and are as at be by can do does for from has have how i in is it its of on or that the their this to was "
        "what when where which who why will with you"
    )
)


def words(text: str) -> list[str]:
    """The words of a text or of source code, in small letters: ``parseRow`` and ``parse_row`` come apart too."""
    found: list[str] = []
    for whole in _WORD.findall(text):
        parts = _HUMP.split(whole)
        found.append(whole.lower())
        if len(parts) > 1:
            found.extend(part.lower() for part in parts)
    return [word for word in found if word not in _COMMON]


def bm25(question: str, texts: Sequence[str]) -> list[float]:
    """The score of each text for the question; 0 where they share no word."""
    asked = list(dict.fromkeys(words(question)))
    corpus = [words(text) for text in texts]
    known = {word for text in corpus for word in text}
    asked = [word for word in asked if word in known]
    if not asked:
        return [0.0] * len(texts)
    import bm25s  # brings numpy: a tenth of a second that only who ranks pays

    index = bm25s.BM25()
    index.index(corpus, show_progress=False)
    return [float(score) for score in index.get_scores(asked)]


def ranked(
    question: str, pieces: Sequence[Piece], sources: Sequence[Source] = (), focus: Sequence[str] = ()
) -> list[float]:
    """The worth of each piece for a question, in [0, 1].

    The best of two scores: BM25 over the best piece's, and the piece's place in the symbol graph around what the
    question names and ``focus`` lists. Where nothing can be told, all are worth the same.

    Parameters
    ----------
    question
        What is asked.
    pieces
        In order.
    sources
        Whole files, for the symbol graph; without them there is none.
    focus
        Symbols to put first, such as ``Class.method``.
    """
    scores = bm25(question, [f"{piece.source} {piece.symbol} {piece.text}" for piece in pieces])
    best = max(scores, default=0.0)
    shares = [score / best for score in scores] if best > 0 else [0.0] * len(pieces)
    files = {source.name: source.text for source in sources if source.name.endswith(".py")}
    if files:
        graph = SymbolGraph(files)
        seeds: dict[Part, None] = dict.fromkeys(part for name in focus for part in graph.found(name))
        seeds |= dict.fromkeys(graph.mentioned(question))
        worth = {(part.path, part.name): much for part, much in graph.around(seeds).items() if part.name}
        shares = [
            max(share, worth.get((piece.source, piece.symbol), 0.0))
            for share, piece in zip(shares, pieces, strict=True)
        ]
    return shares if any(shares) else [1.0] * len(pieces)
