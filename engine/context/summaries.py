"""Summaries of large artefacts, made once for each content and kept in the cache."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass

from engine.models.ports import CachePort, Made, NoCache

VERSION = "1"
"""Of what summaries are asked to be; one made for another version is made again."""


@dataclass(frozen=True, slots=True)
class Summary:
    """A summary, and what it cost in nano-dollars: what a later hit then saves."""

    text: str
    cost_nusd: int = 0


Summarise = Callable[[str, int], Summary]
"""Takes a text and how many tokens its summary may have."""


class Summaries:
    """Asks for a summary unless there is one of the same content.

    Parameters
    ----------
    summarise
        Makes one. It pays and notes its own calls.
    name
        Names what makes them (a model's id): summaries by another are not taken for its own.
    cache
        Where they are kept; without one each is made anew.
    """

    def __init__(self, summarise: Summarise, name: str, cache: CachePort | None = None) -> None:
        self._summarise, self._name, self._cache = summarise, name, cache or NoCache()

    def of(self, text: str, max_tokens: int) -> str:
        """A summary of ``text`` in at most ``max_tokens``, as far as its maker keeps to that."""
        digest = hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
        asked = {
            "model": self._name, "prompt_version": f"summary {VERSION}", "tools": [],
            "params": {"sha256": digest, "max_tokens": max_tokens},
        }  # fmt: skip

        def make() -> Made:
            made = self._summarise(text, max_tokens)
            return Made(made.text, made.cost_nusd, keep=bool(made.text))

        return str(self._cache.fetch(asked, make).value)
