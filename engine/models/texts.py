"""A router that learns from texts: how likely a model's answer to a text passes, from checked outcomes.

Ridge regression on hashed words, hashed character n-grams and a few traits of the text. Bounded: as many weights as
there are buckets, whatever was learned from; the same outcomes always give the same router. It reads no clock, and
without scikit-learn (extra ``router``) there is none.

References
----------
Ong et al., RouteLLM: Learning to Route LLMs with Preference Data, 2024, for the figure it is held to (APGR).
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

LABELS_MIN = 100
"""Outcomes of a model from which its texts say anything; below, the calibration alone decides."""
TEXT_MAX = 4000
"""Characters of a text that are looked at."""

_BUCKETS = 2**16
_WORDS, _CHARACTERS, _TRAITS = 0.5, 0.5, 0.3
_WIDTH, _LANDMARKS = 50.0, 256
_ALPHAS = (2.0, 4.0, 8.0, 16.0)
_FOLDS, _CHOSEN_ON = 4, 2000
_COMMON_FROM = 1000
_SIGN = re.compile(r"[\\$^_{}=+*/<>%|∫∑√]")
_OPTION = re.compile(r"\n\s*(?:[A-Za-z0-9]{1,2}[.)]|[-*])[ \t]+(.*)")


@dataclass(frozen=True, slots=True)
class Seen:
    """Texts as the router sees them: a row each of counted words, counted character n-grams, and traits."""

    words: Any
    characters: Any
    traits: Any

    def __getitem__(self, rows: Any) -> Seen:
        return Seen(self.words[rows], self.characters[rows], self.traits[rows])


def seen(texts: Sequence[str]) -> Seen:
    """``texts`` counted; nothing is learned from them. Raises ``ImportError`` without the extra ``router``."""
    import numpy as np  # lazy, with scikit-learn: the extra `router`
    from sklearn.feature_extraction.text import HashingVectorizer

    cut = [text[:TEXT_MAX] for text in texts]
    counted = {"n_features": _BUCKETS, "alternate_sign": False, "norm": None}
    words = HashingVectorizer(ngram_range=(1, 2), **counted).transform(cut)
    characters = HashingVectorizer(analyzer="char_wb", ngram_range=(3, 5), **counted).transform(cut)
    return Seen(words, characters, np.array([traits(text) for text in cut], dtype=float))


def traits(text: str) -> list[float]:
    """Lengths, and shares of digits, signs, capitals and the like: what is hard looks alike across subjects."""
    from math import log1p

    words, length, first = text.split(), max(1, len(text)), _OPTION.search(text)
    asked, options = text[: first.start()] if first else text, _OPTION.findall(text)
    sizes = [len(option) for option in options] or [0]
    return [
        log1p(len(text)), log1p(len(asked)), log1p(len(words)), len(text) / max(1, len(words)),
        sum(sign.isdigit() for sign in text) / length, len(_SIGN.findall(text)) / length,
        log1p(text.count(".") + text.count("?")), 50 * text.count("\n") / length,
        sum(sign.isupper() for sign in text) / length, float("?" in text), float("_" in text),
        log1p(sum(sizes) / len(sizes)), log1p(max(sizes)),
        log1p(sum(any(sign.isdigit() for sign in option) for option in options)),
        20 * text.count(",") / length, 20 * text.count('"') / length, len(set(words)) / max(1, len(words)),
    ]  # fmt: skip


class TextRouter:
    """What texts say of each model's odds. Made by ``learned``; not changed after.

    Parameters
    ----------
    alpha
        The regularisation that cross-validation within the labels chose.
    labels
        Texts that it was learned from.
    """

    def __init__(self, view: _View, weights: Mapping[str, Any], means: Mapping[str, float], alpha: float) -> None:
        self._view, self._weights, self._means = view, weights, means
        self.alpha, self.labels = alpha, view.rows

    @classmethod
    def learned(cls, texts: Seen, scores: Mapping[str, Sequence[float | None]]) -> TextRouter:
        """Learn from ``texts`` and each model's scores in [0, 1] of them, ``None`` where nobody looked.

        Raises
        ------
        ValueError
            There are no scores.
        """
        import numpy as np

        known = {
            name: (rows, np.array([given[row] for row in rows], dtype=float))
            for name, given in scores.items()
            if (rows := [row for row, score in enumerate(given) if score is not None])
        }
        if not known:
            raise ValueError("no text has a score")
        view = _View(texts)
        space = view.of(texts)
        alpha = _chosen_alpha(space, known)
        weights, means = {}, {}
        for name, (rows, given) in known.items():
            means[name] = float(given.mean())
            weights[name] = _fitted(space[rows], given, alpha)
        return cls(view, weights, means, alpha)

    def lift(self, model: str, texts: Seen) -> Any:
        """By how much each text's odds are above ``model``'s mean; 0 for a model that it knows nothing of."""
        import numpy as np

        weights = self._weights.get(model)
        return np.zeros(texts.traits.shape[0]) if weights is None else self._view.of(texts) @ weights

    def odds(self, model: str, texts: Seen) -> Any:
        """Odds in [0, 1] that ``model`` passes each text. Raises ``KeyError`` for an unknown model."""
        import numpy as np

        return np.clip(self._means[model] + self.lift(model, texts), 0.0, 1.0)

    def models(self) -> list[str]:
        """Those it knows of."""
        return sorted(self._weights)


class _View:
    """Weights of buckets by how rare they are, and the traits' scale, of the texts learned from."""

    def __init__(self, texts: Seen) -> None:
        import numpy as np

        self.rows = int(texts.traits.shape[0])
        least = 2 if self.rows >= _COMMON_FROM else 1
        self._words, self._characters = _rarity(texts.words, least), _rarity(texts.characters, 2)
        self._mean, self._scale = texts.traits.mean(axis=0), texts.traits.std(axis=0) + 1e-9
        scaled = self._scaled(texts)
        # Landmarks evenly among the texts by their length: no draw, so the same texts give the same router.
        order = np.lexsort((np.arange(self.rows), texts.traits[:, 0]))
        self._marks = scaled[order[np.linspace(0, self.rows - 1, min(_LANDMARKS, self.rows)).astype(int)]]
        values, vectors = np.linalg.eigh(_near(self._marks, self._marks))
        kept = values > 1e-6
        self._root = vectors[:, kept] / np.sqrt(values[kept])

    def of(self, texts: Seen) -> Any:
        """Texts as points: near each other where words, spelling or traits are alike."""
        from scipy.sparse import csr_matrix, hstack

        near = csr_matrix(_near(self._scaled(texts), self._marks) @ self._root * _TRAITS**0.5)
        words = _weighed(texts.words, self._words, _WORDS)
        return hstack([words, _weighed(texts.characters, self._characters, _CHARACTERS), near], format="csr")

    def _scaled(self, texts: Seen) -> Any:
        return ((texts.traits - self._mean) / self._scale).clip(-4.0, 4.0)


def _rarity(counts: Any, least: int) -> Any:
    import numpy as np

    found = np.bincount(counts.indices, minlength=counts.shape[1])
    return np.where(found >= least, np.log((1 + counts.shape[0]) / (1 + found)) + 1, 0.0)


def _weighed(counts: Any, rarity: Any, share: float) -> Any:
    import numpy as np
    from sklearn.preprocessing import normalize

    weighed = counts.astype(float)
    weighed.data = (1 + np.log(weighed.data)) * rarity[weighed.indices]
    return normalize(weighed, copy=False) * share**0.5


def _near(left: Any, right: Any) -> Any:
    import numpy as np

    apart = (left**2).sum(axis=1)[:, None] + (right**2).sum(axis=1)[None] - 2 * left @ right.T
    return np.exp(-apart / _WIDTH)


def _fitted(space: Any, scores: Any, alpha: float) -> Any:
    """Weights of a ridge regression around the mean, in the dual: there are fewer texts than buckets."""
    from scipy.linalg import solve

    return space.T @ solve(_gram(space, alpha), scores - scores.mean(), assume_a="pos")


def _gram(space: Any, alpha: float) -> Any:
    import numpy as np

    gram = np.asarray((space @ space.T).todense())
    gram[np.diag_indices_from(gram)] += alpha
    return gram


def _chosen_alpha(space: Any, known: Mapping[str, tuple[list[int], Any]]) -> float:
    """The regularisation with the least squared error on folds left out: of the differences between two models where
    both were scored, which is what a choice goes by, else of the scores."""
    import numpy as np
    from scipy.linalg import solve

    names = sorted(known, key=lambda name: (-len(known[name][0]), name))[:2]
    first = dict(zip(known[names[0]][0], known[names[0]][1], strict=True))
    aim = first
    if len(names) == 2:
        second = dict(zip(known[names[1]][0], known[names[1]][1], strict=True))
        both = {row: first[row] - second[row] for row in first if row in second}
        aim = both if len(both) >= LABELS_MIN else first
    rows = sorted(aim)[-_CHOSEN_ON:]
    wanted = np.array([aim[row] for row in rows])
    whole = _gram(space[rows], 0.0)
    fold = np.arange(len(rows)) % _FOLDS
    errors = dict.fromkeys(_ALPHAS, 0.0)
    for left_out in range(_FOLDS):
        kept, out = np.flatnonzero(fold != left_out), np.flatnonzero(fold == left_out)
        if not len(kept) or not len(out):
            return _ALPHAS[-1]
        mean = wanted[kept].mean()
        for alpha in _ALPHAS:
            dual = solve(whole[np.ix_(kept, kept)] + alpha * np.eye(len(kept)), wanted[kept] - mean, assume_a="pos")
            told = mean + whole[np.ix_(out, kept)] @ dual
            errors[alpha] += float(((told - wanted[out]) ** 2).sum())
    return min(_ALPHAS, key=lambda alpha: (errors[alpha], -alpha))
