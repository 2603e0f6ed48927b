"""Tells which licence a text is, by the distinctive phrases it holds.

The text is brought to a normal form first (small letters, no punctuation, no comment signs, one
spelling), so that layout, quotes and line breaks do not matter. Not meant to tell whether a text was
altered: a licence with one word changed is still recognised, and still needs a lawyer.
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass

from tasks.licences.phrases import COVERS, FINGERPRINTS, Fingerprint

ENOUGH = 0.6
"""Least share of a licence's phrases for it to count as recognised."""

GRANT_CONFIDENCE = 0.7
"""Confidence of a notice that only refers to a licence."""

_NOT_WORDS = re.compile(r"[^a-z0-9]+")
_SPELLINGS = (("licence", "license"), ("worldwide", "world wide"))
_COPYRIGHT = re.compile(
    r"^[\s#*/;.%\-]*(?:portions\s+|all\s+)?(?:copyrights?\b|(?:\(c\)|©)(?=.*\d{4})).+$", re.IGNORECASE | re.MULTILINE
)
_YEAR = re.compile(r"\b(19[7-9]\d|20\d\d)\b")


@dataclass(frozen=True, slots=True)
class Recognised:
    """A licence found in a text, with the confidence in (0, 1]; ``quoted`` says the full text is there."""

    licence: str
    confidence: float
    quoted: bool


def normal_form(text: str) -> str:
    """``text`` as small words and digits with single spaces, in one spelling, with spaces at both ends."""
    folded = unicodedata.normalize("NFKC", text).lower()
    words = f" {_NOT_WORDS.sub(' ', folded).strip()} "
    for variant, spelling in _SPELLINGS:
        words = words.replace(variant, spelling)
    return words


def recognise(text: str) -> list[Recognised]:
    """The licences whose texts, or references, ``text`` holds; most certain first.

    A licence that is only a part of another that was found is left out.
    """
    words = normal_form(text)
    found = [match for fingerprint in FINGERPRINTS if (match := _match(fingerprint, words))]
    covered = set().union(*(COVERS.get(match.licence, set()) for match in found)) if found else set()
    kept = [match for match in found if match.licence not in covered]
    return sorted(kept, key=lambda match: (-match.confidence, match.licence))


def _match(fingerprint: Fingerprint, words: str) -> Recognised | None:
    def holds(phrase: str) -> bool:
        return f" {phrase} " in words

    if all(map(holds, fingerprint.required)) and not any(map(holds, fingerprint.absent)):
        share = sum(map(holds, fingerprint.phrases)) / len(fingerprint.phrases)
        if share >= ENOUGH:
            return Recognised(fingerprint.licence, round(share, 2), quoted=True)
    if any(map(holds, fingerprint.grants)):
        return Recognised(fingerprint.licence, GRANT_CONFIDENCE, quoted=False)
    return None


def copyright_lines(text: str, limit: int = 10) -> list[str]:
    """Who claims copyright in ``text``, as written, at most ``limit``; templates to be filled in are left out."""
    lines = dict.fromkeys(" ".join(match[0].split()).strip(" #*/;-%") for match in _COPYRIGHT.finditer(text))
    return [line[:200] for line in lines if _is_claim(line)][:limit]


def _is_claim(line: str) -> bool:
    low = line.lower()
    # A form to be filled in, or the Free Software Foundation's claim to the text of its licences.
    if re.search(r"[\[{<](?:yyyy|year|name|owner|fullname)|<copyright|name of (?:author|copyright)", low):
        return False
    if "free software foundation, inc" in low:
        return False
    starts = ("copyright notice", "copyright holder", "copyright owner", "copyright law", "copyright license",
              "copyright statement", "copyright and ", "copyright interest", "copyright or ", "copyright in ",
              "copyright as ", "copyright to ", "copyright, ", "copyrighted", "copyright does", "copyright is",
              "copyright status", "copyright control", "copyright permission", "copyright disclaimer")  # fmt: skip
    return len(line) > 12 and not low.startswith(starts)


def latest_year(lines: list[str], now_year: int) -> int | None:
    """The latest year named in copyright ``lines``, not after ``now_year``."""
    years = [int(year) for line in lines for year in _YEAR.findall(line) if int(year) <= now_year]
    return max(years, default=None)
