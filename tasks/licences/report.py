"""The audit's facts, and the document that puts them together; pure data in, pure data out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from tasks.licences.conclusion import HIGH, LOW, MEDIUM, Finding
from tasks.licences.spdx import ORDER

FORMAT = 1
"""Raised when the document's shape changes in a way its readers would notice."""


@dataclass(frozen=True, slots=True)
class ListedDistribution:
    """An installed distribution: ``location`` is its metadata folder, absolute."""

    name: str
    version: str
    location: str


@dataclass(frozen=True, slots=True)
class Listing:
    """What is installed, and where it was looked for."""

    python: str
    platform: str
    paths: list[str]
    distributions: list[ListedDistribution]
    count: int


@dataclass(frozen=True, slots=True)
class StatedClaim:
    """What one field of the metadata says, and the licences it may mean (none if not understood)."""

    source: str
    said: str
    licences: list[str]


@dataclass(frozen=True, slots=True)
class TextFacts:
    """A licence file: what was recognised in it. ``quoted`` is false for a mere reference to a licence."""

    path: str
    size_bytes: int
    sha256: str
    licences: list[str]
    confidence: float
    quoted: bool
    bundled: bool
    notice: bool


@dataclass(frozen=True, slots=True)
class DistributionFacts:
    """All that was found out about one distribution. Times are ISO 8601 in UTC, sizes bytes on disk."""

    name: str
    version: str
    location: str
    licence: str
    category: str
    basis: str
    confidence: float
    agrees: bool | None
    size_bytes: int
    file_count: int
    recorded: bool
    summary: str = ""
    home_page: str = ""
    requires: list[str] = field(default_factory=list)
    claims: list[StatedClaim] = field(default_factory=list)
    texts: list[TextFacts] = field(default_factory=list)
    copyrights: list[str] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)
    installed_at: str | None = None
    newest_file_at: str | None = None
    not_built_before: int | None = None
    age_evidence: str = ""

    @property
    def severity(self) -> str:
        """The worst of its findings, or nothing."""
        found = {finding.severity for finding in self.findings}
        return next((severity for severity in (HIGH, MEDIUM, LOW) if severity in found), "")


def consolidated(
    listing: Listing, inspections: Sequence[DistributionFacts | None], title: str, dated: str, extremes: int
) -> dict[str, Any]:
    """The whole audit as one JSON document; see docs/tasks.md for its keys."""
    known = [facts for facts in inspections if facts is not None]
    failed = [asdict(listed) for listed, facts in zip(listing.distributions, inspections, strict=True) if facts is None]
    severities = Counter(finding.severity for facts in known for finding in facts.findings)
    return {
        "format": FORMAT,
        "title": title,
        "dated": dated,
        "environment": {"python": listing.python, "platform": listing.platform, "paths": listing.paths},
        "totals": {
            "distributions": listing.count,
            "inspected": len(known),
            "not_inspected": len(failed),
            "need_attention": sum(1 for facts in known if facts.severity in (HIGH, MEDIUM)),
            "with_licence_text": sum(1 for facts in known if any(not text.notice for text in facts.texts)),
            "compared": sum(1 for facts in known if facts.agrees is not None),
            "agree": sum(1 for facts in known if facts.agrees),
            "size_bytes": sum(facts.size_bytes for facts in known),
            "file_count": sum(facts.file_count for facts in known),
            "findings": {severity: severities[severity] for severity in (HIGH, MEDIUM, LOW)},
        },
        "categories": _categories(known),
        "not_inspected": failed,
        "largest": [_brief(facts) for facts in sorted(known, key=lambda facts: -facts.size_bytes)[:extremes]],
        "oldest": [_brief(facts) for facts in sorted(known, key=_age)[:extremes] if facts.not_built_before],
        "distributions": [asdict(facts) for facts in known],
    }


def _categories(known: Sequence[DistributionFacts]) -> list[dict[str, Any]]:
    rows = []
    for category in ORDER:
        within = [facts for facts in known if facts.category == category.value]
        licences = Counter(facts.licence for facts in within)
        names = sorted(licences, key=lambda licence: (-licences[licence], licence))
        rows.append(
            {
                "category": category.value,
                "count": len(within),
                "licences": [{"licence": name, "count": licences[name]} for name in names],
            }
        )
    return rows


def _brief(facts: DistributionFacts) -> dict[str, Any]:
    names = ("name", "version", "licence", "size_bytes", "file_count", "not_built_before", "age_evidence")
    return {name: getattr(facts, name) for name in names}


def _age(facts: DistributionFacts) -> tuple[int, str]:
    return (facts.not_built_before or 9999, facts.name.lower())
