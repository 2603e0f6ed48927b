"""Keeping secrets out of everything that people read: log lines, errors, tracebacks.

Two nets: the values of secrets that this process has resolved, in the forms in which they leak, and
what stands after a name that says it is a secret. Results are not masked: they are the author's.
"""

from __future__ import annotations

import base64
import json
import re
from urllib.parse import quote

from settings import MASK

_SHORTEST = 4  # a shorter secret would be found everywhere

# Singular on purpose: `input_tokens: 512` is a count, `token: abc` is not.
_NAMED = re.compile(
    r"""(?ix) ( (?: password | passwd | secret | token | api[_-]?key | access[_-]?key | private[_-]?key
              | secret[_-]?key | authorization | credential )
        ["']? \s* [:=] \s* (?: ["']? \s* (?: bearer | basic ) \s+ )? ["']? )
        (?! \s* (?: none | null | true | false )\b ) [^\s"',;&})\]]+"""
)
_IN_ADDRESS = re.compile(r"(?i)(\b[a-z][a-z0-9+.-]*://[^\s/:@]*:)[^\s/@]+(@)")


class Masker:
    """What one process knows of secrets. Safe for threads: the pattern is replaced whole."""

    def __init__(self) -> None:
        self._known: frozenset[str] = frozenset()
        self._pattern: re.Pattern[str] | None = None

    def add(self, secret: str) -> None:
        """Mask ``secret`` from now on; one of less than four characters is not masked."""
        if len(secret) < _SHORTEST or secret in self._known:
            return
        self._known |= _forms(secret)
        longest_first = sorted(self._known, key=len, reverse=True)
        self._pattern = re.compile("|".join(re.escape(form) for form in longest_first))

    def mask(self, text: str) -> str:
        """``text`` without secrets."""
        if self._pattern is not None:
            text = self._pattern.sub(MASK, text)
        text = _IN_ADDRESS.sub(rf"\1{MASK}\2", text)
        return _NAMED.sub(rf"\1{MASK}", text)


def _forms(secret: str) -> frozenset[str]:
    raw = secret.encode()
    written = {secret, quote(secret, safe=""), quote(secret), json.dumps(secret)[1:-1], repr(secret)[1:-1]}
    encoded = {base64.b64encode(raw).decode().rstrip("="), base64.urlsafe_b64encode(raw).decode().rstrip("=")}
    return frozenset(form for form in written | encoded if len(form) >= _SHORTEST)
