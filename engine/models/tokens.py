"""How many tokens a text is, told offline: exactly where the vocabulary is here, else by a learned ratio.

Three questions, three answers. ``count`` is the best guess, for packing a context. ``exact`` says whether it is
more than a guess. ``bound`` is never less than what a provider will count, for reserving money. Nothing here asks
a provider, and nothing downloads a vocabulary: the extra ``context`` ships OpenAI's inside its wheel.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from functools import lru_cache
from importlib.util import find_spec
from math import ceil
from threading import Lock
from typing import Protocol

BYTES_A_TOKEN = 3.3
"""UTF-8 bytes a token, before a model taught better: between JSON (about 2.8) and English prose (about 4.3)."""

MESSAGE_OVERHEAD = 16
"""Tokens that a chat format puts around one message, at most: its role and its marks (ChatML 4, Llama 3 about 6)."""

REQUEST_OVERHEAD = 64
"""Tokens that a provider puts around a request, at most: the answer's opening, a standing first line."""

TOOLS_OVERHEAD = 1024
"""Tokens of the hidden instructions that come with tools, at most (Anthropic documents up to 735)."""

_PIECE = 500_000  # characters: the tokeniser refuses a million at once
_OLDEST_KEPT = 0.98  # what a call seen before still weighs after each new one: about the last fifty count
_VOCABULARIES = (
    (re.compile(r"(gpt-4o|gpt-4\.[15]|gpt-[5-9]|gpt-oss|chatgpt-4o|codex-|o[1-9](-|$))"), "o200k_base"),
    (re.compile(r"(gpt-4|gpt-3\.5|gpt-35|text-embedding-3|text-embedding-ada-002)"), "cl100k_base"),
)


class _Encoding(Protocol):
    def encode_ordinary(self, text: str) -> list[int]: ...


class Ratios:
    """UTF-8 bytes a token, by model, learned from what providers counted.

    Parameters
    ----------
    known
        Bytes and tokens seen so far, by model, as ``to_json`` gives them.
    """

    def __init__(self, known: Mapping[str, tuple[float, float]] | None = None) -> None:
        self._lock = Lock()
        self._sums: dict[str, tuple[float, float]] = {name: (sums[0], sums[1]) for name, sums in (known or {}).items()}

    def saw(self, model: str, utf8_bytes: int, tokens: int) -> None:
        """Learn from one call: what was sent, in bytes, and the input tokens its provider counted."""
        if utf8_bytes <= 0 or tokens <= 0:
            return
        with self._lock:
            many, few = self._sums.get(model, (0.0, 0.0))
            self._sums[model] = (many * _OLDEST_KEPT + utf8_bytes, few * _OLDEST_KEPT + tokens)

    def of(self, model: str) -> float:
        """Bytes a token of ``model``; the default where nothing was seen, at least 1."""
        with self._lock:
            many, few = self._sums.get(model, (0.0, 0.0))
        return max(1.0, many / few) if few else BYTES_A_TOKEN

    def to_json(self) -> dict[str, tuple[float, float]]:
        """What was seen, for another process."""
        with self._lock:
            return dict(self._sums)


RATIOS = Ratios()
"""What this process has learned."""


def vocabulary(model: str) -> str | None:
    """Name of the vocabulary that ``model`` reads with, if it is a public one; ``None`` for others.

    Parameters
    ----------
    model
        ``provider/name`` or a bare name; of a fine-tuned one its base counts.
    """
    name = model.rsplit("/", 1)[-1].removeprefix("ft:").lower()
    return next((known for pattern, known in _VOCABULARIES if pattern.match(name)), None)


def exact(model: str) -> bool:
    """Whether ``count`` is what the model's own tokeniser says: its vocabulary is public and the extra is here."""
    name = vocabulary(model)
    return name is not None and _encoding(name) is not None


def method(model: str) -> str:
    """How ``count`` counts for ``model``, in words that a report can show."""
    if exact(model):
        return f"exact ({vocabulary(model)})"
    reason = "its vocabulary needs the extra `context`" if vocabulary(model) else "its vocabulary is not public"
    return f"estimated ({RATIOS.of(model):.2f} bytes a token; {reason})"


def count(text: str, model: str, ratios: Ratios = RATIOS) -> int:
    """Tokens of ``text`` as ``model`` reads it, without what a chat format adds.

    Special marks such as ``<|endoftext|>`` count as the text that they are here. A text of more than half a
    million characters is counted in parts, which may give a token too many a part.

    Parameters
    ----------
    text
        Any text; a lone surrogate counts as what replaces it on the wire.
    model
        ``provider/name``.
    ratios
        What was learned of models whose vocabulary is not here.
    """
    if not text:
        return 0
    name = vocabulary(model)
    encoding = _encoding(name) if name else None
    if encoding is None:
        return ceil(round(utf8_bytes(text) / ratios.of(model), 6))
    return sum(len(encoding.encode_ordinary(text[at : at + _PIECE])) for at in range(0, len(text), _PIECE))


def bound(text: str) -> int:
    """Tokens that one message of ``text`` can be at most, for any byte-level tokeniser.

    A token of such a tokeniser stands for at least one byte, so there are never more tokens than bytes.
    """
    return utf8_bytes(text) + MESSAGE_OVERHEAD


def bound_all(texts: Iterable[str], tools: str = "") -> int:
    """Input tokens that a request of these messages can be at most; ``tools`` are their declarations as JSON."""
    whole = sum(map(bound, texts)) + REQUEST_OVERHEAD
    return whole + bound(tools) + TOOLS_OVERHEAD if tools else whole


def utf8_bytes(text: str) -> int:
    """Bytes of ``text`` on the wire."""
    return len(text) if text.isascii() else len(text.encode("utf-8", "surrogatepass"))


@lru_cache(maxsize=4)
def _encoding(name: str) -> _Encoding | None:
    if find_spec("bpe_openai") is None:
        return None
    import bpe_openai  # an extra, and half a second of imports: only who counts exactly pays

    encoding: _Encoding = bpe_openai.get_encoding(name)
    return encoding
