"""What follows from a distribution's claims and texts: a licence, its category, and what is wrong.

Sources are weighed in this order: a valid ``License-Expression``; the ``License`` field and the
classifiers, narrowed by the texts; the texts alone. Sources that disagree are reported, not decided.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tasks.licences.declared import BSD, Claim
from tasks.licences.spdx import ORDER, Category, Expression, category_of, parse
from tasks.licences.texts import Recognised

HIGH, MEDIUM, LOW = "high", "medium", "low"


@dataclass(frozen=True, slots=True)
class Finding:
    """Something a reader should look at. ``code`` is stable; ``severity`` is high, medium or low."""

    code: str
    severity: str
    message: str


@dataclass(frozen=True, slots=True)
class Conclusion:
    """The licence that the evidence points to.

    ``basis`` names the evidence; ``confidence`` is in [0, 1]; ``agrees`` says whether declaration and
    text name the same, ``None`` where one of them is missing.
    """

    licence: str
    category: Category
    basis: str
    confidence: float
    agrees: bool | None
    findings: tuple[Finding, ...]


def conclude(
    claims: Sequence[Claim], texts: Sequence[Recognised], text_files: int, bundled: Sequence[Recognised] = ()
) -> Conclusion:
    """Weigh what is declared against what was recognised.

    Parameters
    ----------
    claims
        Of the metadata.
    texts, text_files
        The licences recognised in the distribution's own licence files, and how many such files there are.
    bundled
        Licences of the parts it brings along: an expression may name them, they never contradict it.
    """
    in_text = _in_text(texts)
    expression = next((parse(claim.said) for claim in claims if claim.source == "License-Expression"), None)
    if expression:
        groups = [frozenset({name}) for name in sorted(expression.licences())]
    else:
        groups = _grouped([claim.any_of for claim in claims if claim.any_of])
    licence, category, basis, confidence = _decided(expression, claims, groups, in_text, texts)
    anywhere = in_text | _in_text(bundled)
    agrees = _agrees(expression, groups, anywhere) if in_text else None
    if agrees:  # what it brings along may complete its own texts, not replace them
        agrees = any(_meant(group, in_text) for group in groups)
    findings = [
        *_findings_on_declaration(claims, expression, licence),
        *_findings_on_texts(groups, in_text, anywhere, agrees, text_files, category),
        *_findings_on_category(licence, category),
    ]
    if not expression and licence.startswith("one of"):
        findings.append(
            Finding("ambiguous", LOW, "the declaration names a family of licences; which of them is meant is not said")
        )
    if not expression and " and/or " in licence:
        message = "several licences are named; whether they are a choice or all apply is not said"
        findings.append(Finding("relation-unstated", LOW, message))
    return Conclusion(licence, category, basis, confidence, agrees, tuple(findings))


def _in_text(texts: Sequence[Recognised]) -> frozenset[str]:
    found = {match.licence for match in texts}
    # The GPL goes with an LGPL's text because it must; CPython's stack of licences holds PSF-2.0.
    if "LGPL-3.0" in found:
        found.discard("GPL-3.0")
    return frozenset(found)


def _grouped(claims: Sequence[frozenset[str]]) -> list[frozenset[str]]:
    """Claims that may mean the same are one claim, as narrow as the narrowest of them."""
    groups: list[frozenset[str]] = []
    for claim in sorted(claims, key=len):
        if not any(claim & group for group in groups):
            groups.append(claim)
    return groups


def _meant(licences: frozenset[str], in_text: frozenset[str]) -> frozenset[str]:
    alike = {"Python-2.0": "PSF-2.0", "PSF-2.0": "Python-2.0"}
    return licences & (in_text | {alike[name] for name in in_text if name in alike})


def _decided(
    expression: Expression | None,
    claims: Sequence[Claim],
    groups: Sequence[frozenset[str]],
    in_text: frozenset[str],
    texts: Sequence[Recognised],
) -> tuple[str, Category, str, float]:
    if expression:
        said = next(claim.said for claim in claims if claim.source == "License-Expression")
        return said, expression.category(), "License-Expression", 1.0
    if groups:
        narrowed = [_meant(group, in_text) or group for group in groups]
        names = sorted(_one_of(group) for group in narrowed)
        category = max((_category(group) for group in narrowed), key=ORDER.index)
        supported = all(_meant(group, in_text) for group in groups)
        sources = " + ".join(dict.fromkeys(claim.source for claim in claims if claim.any_of))
        return " and/or ".join(names), category, sources + (" + text" if supported else ""), 0.95 if supported else 0.7
    if in_text:
        category = max((category_of(name) for name in in_text), key=ORDER.index)
        least = min(match.confidence for match in texts if match.licence in in_text)
        return " and/or ".join(sorted(in_text)), category, "text", round(0.9 * least, 2)
    return "unknown", Category.UNKNOWN, "nothing", 0.0


def _one_of(licences: frozenset[str]) -> str:
    if licences == BSD:
        return "one of the BSD family"
    return next(iter(licences)) if len(licences) == 1 else "one of " + ", ".join(sorted(licences))


def _category(licences: frozenset[str]) -> Category:
    return max((category_of(name) for name in licences), key=ORDER.index)


def _agrees(expression: Expression | None, groups: Sequence[frozenset[str]], in_text: frozenset[str]) -> bool | None:
    if not groups or not in_text:
        return None
    if expression and expression.operator == "OR":
        return any(_meant(frozenset(part.licences()), in_text) for part in expression.parts)
    return all(_meant(group, in_text) for group in groups)


def _findings_on_declaration(claims: Sequence[Claim], expression: Expression | None, licence: str) -> list[Finding]:
    findings = []
    for claim in claims:
        if claim.source == "License-Expression" and expression is None:
            findings.append(
                Finding("invalid-expression", MEDIUM, f"License-Expression {claim.said!r} is not valid SPDX")
            )
        elif not claim.any_of and claim.source != "License-Expression":
            message = f"the {claim.source} {claim.said!r} names no licence that is known here"
            findings.append(Finding("not-understood", MEDIUM if licence == "unknown" else LOW, message))
    if expression:
        named = expression.licences()
        other = [claim for claim in claims if claim.source != "License-Expression" and claim.any_of]
        findings += [
            Finding("declarations-disagree", MEDIUM,
                    f"License-Expression says {licence}, the {claim.source} says {claim.said!r}")
            for claim in other if not claim.any_of & named
        ]  # fmt: skip
    return findings


def _findings_on_texts(
    groups: Sequence[frozenset[str]],
    in_text: frozenset[str],
    anywhere: frozenset[str],
    agrees: bool | None,
    text_files: int,
    category: Category,
) -> list[Finding]:
    if not text_files:
        if not groups:
            return [Finding("no-licence", HIGH, "nothing is declared and no licence file is installed")]
        return [
            Finding("no-text", MEDIUM, "no licence file is installed; most licences require their text to be passed on")
        ]
    if not in_text:
        return [Finding("text-unknown", MEDIUM, "the licence file holds no licence that is recognised here")]
    if not groups:
        return [Finding("not-declared", LOW, "the metadata declares nothing; the licence was read from its text")]
    found = ", ".join(sorted(in_text))
    missing = [group for group in groups if not _meant(group, anywhere)]
    if not any(_meant(group, in_text) for group in groups):
        declared = " and ".join(_one_of(group) for group in groups)
        return [Finding("conflict", HIGH, f"declared is {declared}, the licence file reads as {found}")]
    findings = []
    if missing:
        lacking = " and ".join(_one_of(group) for group in missing)
        severity = LOW if agrees else MEDIUM
        findings.append(Finding("text-missing", severity, f"declared is also {lacking}, of which no text is installed"))
    allowed = frozenset().union(*groups)
    if extra := sorted(name for name in in_text if not _meant(allowed, frozenset({name}))):
        worse = max(ORDER.index(category_of(name)) for name in extra) > ORDER.index(category)
        message = f"the licence file also holds {', '.join(extra)}, which is not declared (often code it bundles)"
        findings.append(Finding("text-additional", MEDIUM if worse else LOW, message))
    return findings


def _findings_on_category(licence: str, category: Category) -> list[Finding]:
    if category is Category.UNKNOWN:
        known = licence != "unknown"
        return [Finding("category-unknown", MEDIUM, f"{licence} is in no category here")] if known else []
    asks = {
        Category.PROPRIETARY: (HIGH, "its terms restrict use or distribution; each use needs checking"),
        Category.NETWORK_COPYLEFT: (HIGH, "source must be offered to users, those over a network included"),
        Category.STRONG_COPYLEFT: (HIGH, "a work based on it must be passed on under the same licence"),
        Category.WEAK_COPYLEFT: (
            MEDIUM,
            "changes to its own files or library must be passed on under the same licence",
        ),
    }
    if category not in asks:
        return []
    severity, why = asks[category]
    return [Finding(category.value.replace(" ", "-"), severity, f"{licence}: {why}")]
