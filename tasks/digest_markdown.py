"""The night's digest as Markdown: what needs attention first, the figures after it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from tasks.checksums import Checksum
from tasks.files import FoundFiles
from tasks.licences.markdown import cell, size, table
from tasks.searching import Found
from tasks.usage import Usage

_FOLDERS = 20
_GROWN = 10
_SAMPLES = 20
_BACKUPS = 100


@dataclass(frozen=True, slots=True)
class Growth:
    """A folder's bytes, and by how many they grew; fewer than none if it shrank."""

    path: str
    bytes: int
    grown_bytes: int


@dataclass(frozen=True, slots=True)
class JudgedBackup:
    """A backup's checksum and what it says: ``new``, ``unchanged`` since ``since``, ``changed``, ``unreadable``."""

    file: Checksum
    state: str
    since: str


@dataclass(frozen=True, slots=True)
class Night:
    """Everything that the report shows."""

    title: str
    dated: str
    attention: list[str]
    usage: Usage
    growth: list[Growth]
    noted_at: str | None
    logs: Found
    backups: FoundFiles
    judged: list[JudgedBackup]


def as_markdown(night: Night) -> str:
    """The report. Names and log lines are escaped, so that none can break its layout."""
    sections = (_head(night), _disk(night), _logs(night.logs), _backups(night))
    return "\n".join(section.rstrip() + "\n" for section in sections)


def _head(night: Night) -> str:
    lines = [f"# {cell(night.title)}", "", f"{night.dated}, `{_code(night.usage.root)}`", "", "## Needs attention", ""]
    lines += [f"- {cell(entry)}" for entry in night.attention] or ["Nothing."]
    return "\n".join(lines) + "\n"


def _disk(night: Night) -> str:
    usage = night.usage
    free = f"{size(usage.disk_free_bytes)} of {size(usage.disk_bytes)} are free on its disk"
    text = f"## Disk\n\n{size(usage.bytes)} in {usage.files:,} files; {free}.\n\n"
    grown = {entry.path: _signed(entry.grown_bytes) for entry in night.growth}
    missing = "not listed" if night.noted_at else ""
    rows = [
        (cell(folder.path), size(folder.bytes), f"{folder.files:,}", grown.get(folder.path, missing))
        for folder in usage.folders[:_FOLDERS]
    ]
    since = f"since {night.noted_at}" if night.noted_at else "(first night)"
    text += "### Largest folders\n\n" + table(("Folder", "Size", "Files", f"Change {since}"), rows, (1, 2, 3))
    changed = [entry for entry in night.growth if entry.grown_bytes][:_GROWN]
    if changed:
        largest = [(cell(entry.path), _signed(entry.grown_bytes), size(entry.bytes)) for entry in changed]
        text += f"\n### Largest changes {since}\n\n" + table(("Folder", "Change", "Size"), largest, (1, 2))
    if usage.largest_files:
        files = [(cell(file.path), size(file.size_bytes), file.modified_at[:16]) for file in usage.largest_files]
        text += "\n### Largest files\n\n" + table(("File", "Size", "Changed"), files, (1,))
    return text


def _logs(logs: Found) -> str:
    head = f"## Logs in `{_code(logs.root)}`\n\n"
    if logs.missing:
        return head + "There is no such folder.\n"
    more = " There are more files than were searched." if logs.truncated else ""
    text = head + f"{logs.lines:,} new lines in {logs.searched:,} files.{more}\n"
    names = list(logs.counts)
    found = [file for file in logs.files if any(file.counts.values())]
    found.sort(key=lambda file: (-sum(file.counts.values()), file.path))
    if found:
        rows = [(cell(file.path), *(f"{file.counts.get(name, 0):,}" for name in names)) for file in found]
        text += "\n" + table(("File", *map(cell, names)), rows, range(1, len(names) + 1))
        samples: list[Any] = [(file, sample) for file in found for sample in file.samples][:_SAMPLES]
        lines = [f"- {cell(file.path)}, {cell(sample.pattern)}: {cell(sample.text)}" for file, sample in samples]
        text += "\n" + "\n".join(lines) + "\n"
    failed = [f"- {cell(file.path)}: {cell(file.error)}" for file in logs.files if file.error is not None]
    return text + ("\nNot read:\n\n" + "\n".join(failed) + "\n" if failed else "")


def _backups(night: Night) -> str:
    text = f"## Backups in `{_code(night.backups.root)}`\n\n"
    if not night.backups.files:
        return text + "There are none.\n"
    newest = max(file.modified_at for file in night.backups.files)
    total = size(night.backups.total_bytes)
    text += f"{night.backups.count:,} files, {total}; the newest is of {newest[:16]}. Checksums of the young ones:\n\n"
    if not night.judged:
        return text + "No backup is young enough.\n"
    rows = []
    for entry in night.judged[:_BACKUPS]:
        file = entry.file
        state = f"unchanged since {entry.since[:16]}" if entry.state == "unchanged" else entry.state
        checksum = f"`{(file.checksum or '')[:16]}`" if file.checksum else ""
        rows.append((cell(file.path), size(file.size_bytes or 0), (file.modified_at or "")[:16], checksum, state))
    return text + table(("Backup", "Size", "Changed", "SHA-256 begins", "State"), rows, (1,))


def _signed(count: int) -> str:
    return f"{'+' if count >= 0 else '−'}{size(abs(count))}"


def _code(text: str) -> str:
    return " ".join(text.replace("`", "'").split())
