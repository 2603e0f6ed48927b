"""Task types that audit the licences of installed Python distributions: list, inspect, report."""

from __future__ import annotations

import platform
import re
import sys
from dataclasses import dataclass
from datetime import UTC, datetime
from email.message import Message
from importlib.metadata import Distribution
from pathlib import Path
from typing import Annotated, Any, cast

from pydantic import Field

from engine.errors import Permanent
from engine.plan.decorators import task
from engine.plan.tasktype import TaskContext
from tasks import distributions
from tasks.ages import not_built_before
from tasks.licences import declared
from tasks.licences.conclusion import Conclusion, conclude
from tasks.licences.markdown import as_markdown
from tasks.licences.report import DistributionFacts, ListedDistribution, Listing, StatedClaim, TextFacts, consolidated
from tasks.licences.texts import copyright_lines, latest_year, recognise
from tasks.roots import readable


@dataclass(frozen=True, slots=True)
class AuditReport:
    """The consolidated audit: ``markdown`` to read, ``document`` to process, ``counts`` for other steps."""

    markdown: str
    document: dict[str, Any]
    counts: dict[str, int]


@task("dependencies.list", effects="none", queue="io")
def list_distributions(context: TaskContext, site_packages: list[str] | None = None) -> Listing:
    """List every distribution installed in some folders, in order of name.

    Parameters
    ----------
    site_packages
        Folders to look in; ``None`` means those of the interpreter that runs this.

    Raises
    ------
    Permanent
        If a folder is missing or outside the setting ``file_roots``, or no distribution is found.

    Examples
    --------
    ::

        list:
          task: dependencies.list
    """
    if site_packages is None:
        paths = distributions.library_paths()
    else:
        paths = [readable(path, context).path for path in site_packages]
        for path in paths:
            if not path.is_dir():
                raise Permanent(f"{path} is not a folder")
    found = [ListedDistribution(name, version, str(at)) for name, version, at in distributions.listed(paths)]
    if not found:
        raise Permanent(f"no distribution is installed in {', '.join(map(str, paths)) or 'any folder'}")
    python = f"{platform.python_implementation()} {platform.python_version()}"
    return Listing(python, f"{sys.platform} {platform.machine()}", [str(path) for path in paths], found, len(found))


@task("dependencies.inspect", effects="none", queue="cpu")
def inspect(context: TaskContext, distribution: ListedDistribution) -> DistributionFacts:
    """Say what licence one distribution has, on what evidence, and what is wrong with that evidence.

    Parameters
    ----------
    distribution
        One of those that ``dependencies.list`` found.

    Raises
    ------
    Permanent
        If it is not there any more, its metadata cannot be read, or it lies outside ``file_roots`` and the
        interpreter's own folders.

    Examples
    --------
    ::

        inspect:
          task: dependencies.inspect
          for_each: "{{ steps.list.output.distributions }}"
          with: {distribution: "{{ item }}"}
    """
    location = _location(distribution.location, context)
    found = distributions.opened(location)
    if not _is_readable(found):
        raise Permanent(f"the metadata in {location} is missing or is no UTF-8 text")
    files = distributions.licence_files(found, location)
    recognised = {file.path: recognise(file.text) for file in files}
    main = [match for file in files if not file.bundled for match in recognised[file.path]]
    licence_texts = [file for file in files if not file.bundled and (not file.notice or recognised[file.path])]
    claims = _claims(found)
    bundled = [match for file in files if file.bundled for match in recognised[file.path]]
    conclusion = conclude(claims, main, len(licence_texts), bundled)
    claimed = dict.fromkeys(line for file in files if not file.bundled for line in copyright_lines(file.text))
    texts = [
        TextFacts(
            file.path,
            file.size_bytes,
            file.sha256,
            [match.licence for match in recognised[file.path]],
            max((match.confidence for match in recognised[file.path]), default=0.0),
            quoted=any(match.quoted for match in recognised[file.path]),
            bundled=file.bundled,
            notice=file.notice,
        )
        for file in files
    ]
    return _facts(distribution, found, location, conclusion, claims, texts, list(claimed)[:10])


def _location(text: str, context: TaskContext) -> Path:
    path = Path(text).resolve()
    # What dependencies.list offers of its own accord may be inspected, whatever the roots say.
    if path.parent not in distributions.library_paths():
        path = readable(text, context).path
    if path.suffix not in (".dist-info", ".egg-info") or not path.exists():
        raise Permanent(f"{text} is not the metadata of an installed distribution; was it removed meanwhile?")
    return path


def _is_readable(found: Distribution) -> bool:
    try:
        return bool(found.metadata and found.metadata["Name"])
    except UnicodeDecodeError:
        return False


def _claims(found: Distribution) -> list[declared.Claim]:
    metadata = _metadata(found)
    expression = metadata.get("License-Expression")
    return [
        *([declared.from_expression(expression)] if expression else []),
        *declared.from_license_field(metadata.get("License") or ""),
        *declared.from_classifiers(metadata.get_all("Classifier") or []),
    ]


def _facts(
    listed: ListedDistribution,
    found: Distribution,
    location: Path,
    conclusion: Conclusion,
    claims: list[declared.Claim],
    texts: list[TextFacts],
    copyrights: list[str],
) -> DistributionFacts:
    metadata, extent = _metadata(found), distributions.extent(found, location)
    generator = re.search(r"^Generator: (.+)$", found.read_text("WHEEL") or "", re.MULTILINE)
    year = datetime.now(UTC).year
    age = not_built_before(
        listed.version,
        generator[1].strip() if generator else "",
        metadata.get("Metadata-Version") or "",
        latest_year(copyrights, year),
        year,
    )
    return DistributionFacts(
        name=listed.name,
        version=listed.version,
        location=listed.location,
        summary=metadata.get("Summary") or "",
        home_page=_home_page(found),
        requires=sorted(found.requires or []),
        licence=conclusion.licence,
        category=conclusion.category.value,
        basis=conclusion.basis,
        confidence=conclusion.confidence,
        agrees=conclusion.agrees,
        claims=[StatedClaim(claim.source, claim.said, sorted(claim.any_of)) for claim in claims],
        texts=texts,
        copyrights=copyrights,
        findings=list(conclusion.findings),
        size_bytes=extent.size_bytes,
        file_count=extent.file_count,
        recorded=extent.recorded,
        installed_at=_text(extent.installed_at),
        newest_file_at=_text(extent.newest_file_at),
        not_built_before=age[0],
        age_evidence=age[1],
    )


def _metadata(found: Distribution) -> Message:
    return cast("Message", found.metadata)  # what it is; its declared protocol has no get() before Python 3.12


def _text(moment: datetime | None) -> str | None:
    return None if moment is None else moment.isoformat()


def _home_page(found: Distribution) -> str:
    """The page a reader would go to: the home page, else the source, else the first link that there is."""
    metadata = _metadata(found)
    page = metadata.get("Home-page") or ""
    links = dict(entry.split(", ", 1) for entry in metadata.get_all("Project-URL") or () if ", " in entry)
    by_label = {re.sub(r"[^a-z]", "", label.lower()): link for label, link in links.items()}
    for label in ("homepage", "home", "source", "sourcecode", "repository", "github"):
        page = page if page not in ("", "UNKNOWN") else by_label.get(label, "")
    page = page or next(iter(links.values()), "")
    return page if page.startswith(("https://", "http://")) else ""


@task("dependencies.report", effects="none", queue="cpu")
def report(
    listing: Listing,
    inspections: list[DistributionFacts | None],
    title: str = "Dependency licence audit",
    dated: str | None = None,
    extremes: Annotated[int, Field(ge=1, le=100)] = 10,
) -> AuditReport:
    """Put all inspections together into one report: Markdown to send, and a document to process.

    Parameters
    ----------
    listing
        What ``dependencies.list`` returned.
    inspections
        The output of the fan-out over it, in its order; null where an inspection failed.
    title
        First heading.
    dated
        Date shown, ISO 8601; ``None`` means now.
    extremes
        How many of the largest and of the oldest are listed.

    Raises
    ------
    Permanent
        If there are not as many inspections as listed distributions.

    Examples
    --------
    ::

        report:
          task: dependencies.report
          join: {tolerate: 0.2}
          with:
            listing: "{{ steps.list.output }}"
            inspections: "{{ steps.inspect.output }}"
    """
    if len(inspections) != len(listing.distributions):
        raise Permanent(f"{len(inspections)} inspections do not fit {len(listing.distributions)} listed distributions")
    dated = dated or datetime.now(UTC).isoformat(timespec="seconds")
    document = consolidated(listing, inspections, title, dated, extremes)
    totals = document["totals"]
    counts = {name: totals[name] for name in ("distributions", "inspected", "not_inspected", "need_attention")}
    return AuditReport(
        as_markdown(document), document, counts | {f"{k}_findings": v for k, v in totals["findings"].items()}
    )
