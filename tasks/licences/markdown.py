"""The audit's document as Markdown for people: what needs attention first, the evidence after it."""

from __future__ import annotations

import html
import re
from collections.abc import Iterable, Sequence
from typing import Any

_SPECIAL = re.compile(r"([\\`*\[\]|~])")
_EDGE_UNDERSCORE = re.compile(r"(?<!\w)_|_(?!\w)")
_MEANING = {
    "permissive": "keep the copyright notice and the licence text; little else is asked",
    "weak copyleft": "changes to the component itself stay under its licence",
    "strong copyleft": "a work based on it is passed on under the same licence",
    "network copyleft": "as strong copyleft, also when it is only used over a network",
    "proprietary": "not open source: use or distribution is restricted",
    "unknown": "could not be told from what is installed",
}
_SEVERITIES = (
    ("high", "Settle these before distributing"),
    ("medium", "Check these"),
    ("low", "For completeness"),
)

METHOD = """\
1. **What was looked at.** Every distribution whose metadata is installed in the folders named above, and only what is
   on the disk: no index was asked and no code was run or imported.
2. **Declared licence.** `License-Expression` (PEP 639, checked as SPDX), the free `License` field, and the trove
   classifiers, of which some name a family only ("BSD License").
3. **Licence texts.** The files that `License-File` names, everything named like a licence in the metadata folder, and,
   where there is none, such files in the packages. A text is recognised by distinctive phrases after layout, case
   and punctuation are taken away; the confidence is the share of a licence's phrases that was found. A file that only
   refers to a licence counts 70 %.
4. **Conclusion.** A valid expression is taken as it is; else the other declarations, narrowed by the text; else the
   text alone. Where sources disagree, the disagreement is reported and not decided. Of a choice (`OR`) the least
   demanding licence sets the category, of a combination (`AND`, `and/or`) the most demanding.
5. **Age.** Installers rewrite the times of files, so the release date is not on the disk. The year given is one before
   which it was certainly not built: the latest of the years in its copyright notices, a date in its version, and
   the first years of the tool and of the metadata format it was built with. **Size** is that of the
   recorded files on the disk.

**Limits.** A text that was changed in a few words is still recognised as the original. Code that a distribution brings
along without a licence file is not seen, nor are system libraries, data, fonts and models. `-only` and
`-or-later` cannot be told apart by a text. Whether a licence fits a use depends on how the software is combined
and passed on, which nothing here knows. This report is a list of evidence to start from; it is not legal advice.
"""


def as_markdown(document: dict[str, Any]) -> str:
    """The report. Every text taken from a distribution is escaped, so that none can break its layout."""
    sections = (
        _head(document),
        _attention(document),
        _categories(document),
        _inventory(document),
        _extremes(document),
        "## Method and limits\n\n" + METHOD,
    )
    return "\n".join(section.rstrip() + "\n" for section in sections if section)


def cell(value: Any) -> str:
    """``value`` as plain text in one line that no Markdown renderer takes for markup."""
    text = " ".join(str(value).split())
    escaped = _EDGE_UNDERSCORE.sub(r"\\_", _SPECIAL.sub(r"\\\1", text))
    return html.escape(escaped, quote=False)  # not \<: renderers older than CommonMark show the backslash


def table(header: Sequence[str], rows: Iterable[Sequence[str]], right: Sequence[int] = ()) -> str:
    """A table; ``rows`` hold Markdown already, ``right`` the columns set to the right."""
    rule = ["---:" if column in right else "---" for column in range(len(header))]
    lines = [header, rule, *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n"


def size(count: int) -> str:
    """Bytes as people read them: ``1.4 MB``."""
    amount = float(count)
    for unit in ("B", "kB", "MB"):
        if amount < 1000:
            return f"{amount:.0f} {unit}" if unit == "B" or amount >= 100 else f"{amount:.1f} {unit}"
        amount /= 1000
    return f"{amount:.1f} GB"


def _head(document: dict[str, Any]) -> str:
    totals, environment = document["totals"], document["environment"]
    flagged = totals["need_attention"]
    verdict = f"**{flagged} of {totals['inspected']} need attention**" if flagged else "**Nothing needs attention**"
    compared = f"{totals['agree']} of {totals['compared']}" if totals["compared"] else "none"
    rows = [
        ("Distributions", f"{totals['distributions']:,}"),
        ("Inspected", f"{totals['inspected']:,}"),
        ("With a licence text installed", f"{totals['with_licence_text']:,}"),
        ("Declaration and text agree", f"{compared} where both exist"),
        ("Findings", " · ".join(f"{count} {severity}" for severity, count in totals["findings"].items())),
        ("Size on disk", f"{size(totals['size_bytes'])} in {totals['file_count']:,} files"),
        ("Interpreter", cell(f"{environment['python']} on {environment['platform']}")),
        ("Looked in", "<br>".join(f"`{path.replace('`', '').replace('|', ' ')}`" for path in environment["paths"])),
        ("Date", cell(document["dated"])),
    ]
    text = f"# {cell(document['title'])}\n\n{verdict}: {_in_words(document)}\n\n" + table(("", ""), rows)
    if document["not_inspected"]:
        names = ", ".join(f"{cell(item['name'])} {cell(item['version'])}" for item in document["not_inspected"])
        text += (
            f"\n> **Partial.** {len(document['not_inspected'])} could not be inspected and are in no figure: {names}.\n"
        )
    return text


def _in_words(document: dict[str, Any]) -> str:
    present = [f"{row['count']} {row['category']}" for row in document["categories"] if row["count"]]
    return ", ".join(present) + "."


def _attention(document: dict[str, Any]) -> str:
    text = "## Needs attention\n\n"
    for severity, heading in _SEVERITIES:
        rows = [
            (f"**{cell(facts['name'])}** {cell(facts['version'])}", cell(facts["licence"]), cell(finding["message"]))
            for facts in document["distributions"]
            for finding in facts["findings"]
            if finding["severity"] == severity
        ]
        if rows:
            text += f"### {heading} ({len(rows)} {severity})\n\n"
            text += table(("Distribution", "Licence", "Why"), rows) + "\n"
    return text if "###" in text else text + "Nothing was found.\n"


def _categories(document: dict[str, Any]) -> str:
    inspected = max(1, document["totals"]["inspected"])
    rows = [
        (
            row["category"].capitalize(),
            str(row["count"]),
            f"{row['count'] / inspected:.0%}",
            ", ".join(f"{cell(item['licence'])} ({item['count']})" for item in row["licences"]) or "–",
            _MEANING[row["category"]],
        )
        for row in document["categories"]
    ]
    return "## By category\n\n" + table(("Category", "Count", "Share", "Licences", "In short"), rows, right=(1, 2))


def _inventory(document: dict[str, Any]) -> str:
    rows = [
        (
            _linked(facts),
            cell(facts["version"]),
            cell(facts["licence"]),
            facts["category"],
            f"{cell(facts['basis'])}, {facts['confidence']:.0%}",
            _texts(facts),
            cell("; ".join(facts["copyrights"][:2])) or "–",
        )
        for facts in document["distributions"]
    ]
    header = ("Distribution", "Version", "Licence", "Category", "Evidence", "Licence texts", "Copyright notices")
    return f"## All distributions ({len(rows)})\n\n" + table(header, rows)


def _linked(facts: dict[str, Any]) -> str:
    page = facts["home_page"]
    # A link with a bracket, a space or a pipe would break out of its place: show the name alone.
    return (
        f"[{cell(facts['name'])}]({page})"
        if re.fullmatch(r"https?://[^\s()<>|\\\[\]`]+", page)
        else cell(facts["name"])
    )


def _texts(facts: dict[str, Any]) -> str:
    shown = []
    for text in facts["texts"][:4]:
        name = text["path"].rpartition("/")[2]
        found = ", ".join(text["licences"]) or ("notice" if text["notice"] else "not recognised")
        how = f"{text['confidence']:.0%}" + ("" if text["quoted"] else " by reference")
        bundled = ", of bundled code" if text["bundled"] else ""
        shown.append(cell(f"{name}: {found}" + (f" ({how}{bundled})" if text["licences"] else bundled)))
    left_out = len(facts["texts"]) - 4
    return "<br>".join(shown) + (f"<br>and {left_out} more" if left_out > 0 else "") or "**none**"


def _extremes(document: dict[str, Any]) -> str:
    largest = [
        (
            cell(f"{row['name']} {row['version']}"),
            size(row["size_bytes"]),
            f"{row['file_count']:,}",
            cell(row["licence"]),
        )
        for row in document["largest"]
    ]
    oldest = [
        (
            cell(f"{row['name']} {row['version']}"),
            str(row["not_built_before"]),
            cell(row["age_evidence"]),
            cell(row["licence"]),
        )
        for row in document["oldest"]
    ]
    text = "## Largest\n\n" + table(("Distribution", "Size", "Files", "Licence"), largest, right=(1, 2))
    if oldest:
        text += "\n## Oldest\n\n"
        text += table(("Distribution", "Not built before", "Evidence", "Licence"), oldest, right=(1,))
    return text
