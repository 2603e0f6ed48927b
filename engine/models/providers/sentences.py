"""Sentences, words, and how near texts are to each other: the arithmetic under ``local/extractive``. Pure.

Weights are BM25's, from the library bm25s; sentence centrality is TextRank's.

References
----------
| Mihalcea, Tarau (2004), TextRank: Bringing Order into Text, EMNLP.
| Robertson, Zaragoza (2009), The Probabilistic Relevance Framework: BM25 and Beyond.
| Lù (2024), BM25S: Orders of magnitude faster lexical search via eager sparse scoring, arXiv:2407.03618.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from functools import lru_cache
from math import log, sqrt
from typing import Any

_SENTENCE_END = re.compile(
    r"(?<=[.!?…])[\"')\]]*\s+(?=[\"'(\[]?[A-Z0-9ÄÖÜÀ-Ý])|\n\s*\n|\n(?=\s*(?:[-*•#>]|\d+[.)])\s)|\n"
)
_HEADING = re.compile(r"\s*#{1,6}\s")
_ROW = re.compile(r"\s*\|(.*\|.*)\|\s*$")
_RULE = re.compile(r"\s*\|?(?:\s*:?-{3,}:?\s*\|)+(?:\s*:?-{3,}:?\s*)?\s*$")
_MARKED = re.compile(r"\s*(?:[-*•>|]|\d+[.)])\s")
_WRAPPED_FROM = 60
"""Characters from which a line that breaks was probably wrapped."""
_ABBREVIATION = re.compile(r"\b(?:Mr|Mrs|Ms|Dr|Prof|St|vs|etc|e\.g|i\.e|No|Nr|Fig|Inc|Ltd|Co|[A-Z])\.$")
_WORD = re.compile(r"[^\W_]+(?:['’][^\W_]+)?")
_SUFFIXES = ("ations", "ation", "ments", "ingly", "ments", "ment", "ness", "ings", "ing", "edly", "ies", "ied", "ers",
             "est", "ed", "er", "es", "ly", "al", "s")  # fmt: skip
_LITTLE = (
    "a about after all also an and any are as at be because been before being but by can could did do does for from "
    "had has have he her here him his how i if in into is it its just me more most my no not of on one only or other "
    "our out over she should so some such than that the their them then there these they this those to too under up "
    "us very was we were what when where which while who whom why will with would you your"
)
STOP_WORDS = frozenset(_LITTLE.split())
"""Words that carry no meaning of their own, in English."""
_DAMPING, _ROUNDS = 0.85, 30
_RANKED_MAX = 600
"""Sentences between which nearness is worked out: it grows with the square."""


def sentences_of(text: str) -> list[str]:
    """The sentences of ``text``, without blank ones; a line of a list or of a table is one.

    Headings, and the heads and rules of Markdown's tables, say nothing by themselves and are left out, unless
    there is nothing else. Lines that were only wrapped are put together again.
    """
    found: list[str] = []
    for piece in _SENTENCE_END.split(_unwrapped(text) or text):
        trimmed = " ".join(piece.split())
        if not trimmed:
            continue
        if found and _ABBREVIATION.search(found[-1]):
            found[-1] = f"{found[-1]} {trimmed}"
        else:
            found.append(trimmed)
    return found


def _unwrapped(text: str) -> str:
    lines = text.splitlines()
    kept: list[str] = []
    wrapped = False  # whether the next line goes on where the last one broke
    for line, below in zip(lines, [*lines[1:], ""], strict=False):
        if _HEADING.match(line) or _RULE.match(line) or (_ROW.match(line) and _RULE.match(below)):
            wrapped = False
            continue
        if row := _ROW.match(line):
            kept.append(": ".join(cell.strip() for cell in row[1].split("|") if cell.strip()))
            wrapped = False
            continue
        if wrapped and line.strip() and not _MARKED.match(line):
            kept[-1] = f"{kept[-1]} {line.strip()}"
        else:
            kept.append(line)
        wrapped = len(line) >= _WRAPPED_FROM
    return "\n".join(kept).strip()


def words_of(text: str) -> list[str]:
    """Stems of the words that carry meaning, in order."""
    return [stem(word) for word in _WORD.findall(text.lower()) if word not in STOP_WORDS]


@lru_cache(maxsize=50_000)
def stem(word: str) -> str:
    """``word`` without a common English ending; crude, and enough to match forms of a word."""
    for suffix in _SUFFIXES:
        if word.endswith(suffix) and len(word) - len(suffix) >= 3:
            return word[: -len(suffix)]
    return word


def ranked(query: str, texts: Sequence[str]) -> list[float]:
    """How well each of ``texts`` answers ``query``: BM25 scores, 0 where no word is shared."""
    words = [words_of(text) for text in texts]
    asked = list(dict.fromkeys(words_of(query)))
    known = {word for each in words for word in each}
    asked = [word for word in asked if word in known]
    if not asked:
        return [0.0] * len(texts)
    import bm25s  # a quarter of a second to load: only who ranks pays

    index: Any = bm25s.BM25(method="lucene")
    index.index(words, show_progress=False)
    return [float(score) for score in index.get_scores(asked)]


def centrality(sentences: Sequence[str]) -> list[float]:
    """How much each sentence says of what the others say: TextRank over shared words, summing to 1."""
    count = len(sentences)
    if count <= 1:
        return [1.0] * count
    bags = [Counter(words_of(sentence)) for sentence in sentences]
    spread: Counter[str] = Counter(word for bag in bags for word in bag)
    idf = {word: log(1 + count / seen) for word, seen in spread.items()}
    weights = [{word: times * idf[word] for word, times in bag.items()} for bag in bags]
    if count > _RANKED_MAX:  # nearness to the middle of all of them is nearly as good, and linear
        return _nearness_to_middle(weights)
    lengths = [sqrt(sum(value * value for value in weight.values())) or 1.0 for weight in weights]
    near = [[0.0] * count for _ in range(count)]
    for i in range(count):
        for j in range(i):
            near[i][j] = near[j][i] = _dot(weights[i], weights[j]) / (lengths[i] * lengths[j])
    sums = [sum(row) or 1.0 for row in near]
    ranks = [1.0 / count] * count
    for _ in range(_ROUNDS):
        shares = [rank / total for rank, total in zip(ranks, sums, strict=True)]
        ranks = [
            (1 - _DAMPING) / count + _DAMPING * sum(value * share for value, share in zip(row, shares, strict=True))
            for row in near
        ]
    return ranks


def similarity(left: str, right: str) -> float:
    """Cosine of the word counts, in [0, 1]."""
    first, second = Counter(words_of(left)), Counter(words_of(right))
    lengths = sqrt(sum(n * n for n in first.values())) * sqrt(sum(n * n for n in second.values()))
    return _dot(first, second) / lengths if lengths else 0.0


def _nearness_to_middle(weights: Sequence[dict[str, float]]) -> list[float]:
    middle: Counter[str] = Counter()
    for weight in weights:
        middle.update(weight)
    scores = [
        _dot(weight, middle) / (sqrt(sum(value * value for value in weight.values())) or 1.0) for weight in weights
    ]
    total = sum(scores) or 1.0
    return [score / total for score in scores]


def _dot(left: Any, right: Any) -> float:
    small, large = (left, right) if len(left) <= len(right) else (right, left)
    return float(sum(value * large[word] for word, value in small.items() if word in large))
