"""digest.report: what a night's figures say, put together for people.

Judges what other tasks found, and compares it with what a database kept of the night before. Reads no
files and writes none; ``tasks.digest_markdown`` lays the report out.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Annotated, Literal

from pydantic import Field

from engine.errors import Permanent
from engine.plan.decorators import task
from tasks.checksums import Checksum, Checksums
from tasks.digest_markdown import Growth, JudgedBackup, Night, as_markdown
from tasks.files import FoundFiles
from tasks.licences.markdown import size
from tasks.searching import Found
from tasks.usage import FolderUsage, Usage

_GROWTH_SHARE = 0.2
_GROWTH_BYTES = 100_000_000
_FREE_SHARE = 0.1


@dataclass(frozen=True, slots=True)
class FolderBefore:
    """What a folder had when it was noted last."""

    path: str
    bytes: int
    noted_at: str


@dataclass(frozen=True, slots=True)
class KnownBackup:
    """A backup's checksum when it was seen first, in the state it had then."""

    path: str
    size_bytes: int
    modified_at: str
    checksum: str
    first_seen_at: str


@dataclass(frozen=True, slots=True)
class LogRead:
    """How far a log was read: its size then."""

    path: str
    size_bytes: int


@dataclass(frozen=True, slots=True)
class SeenBackup:
    """A backup with its checksum, to be kept."""

    path: str
    size_bytes: int
    modified_at: str
    checksum: str


@dataclass(frozen=True, slots=True)
class Counts:
    """Figures of the night."""

    attention: int
    bytes: int
    grown_bytes: int | None
    matching_lines: int
    backups: int
    backups_changed: int


@dataclass(frozen=True, slots=True)
class Digest:
    """The report, and the rows that the next night compares with."""

    markdown: str
    dated: str
    attention: list[str]
    level: Literal["info", "warning"]
    summary: str
    counts: Counts
    folders: list[FolderUsage]
    logs: list[LogRead]
    backups: list[SeenBackup]
    forget_before: str


@task("digest.report", effects="none", queue="cpu")
def report(
    usage: Usage,
    logs: Found,
    backups: FoundFiles,
    checksums: Checksums,
    before: list[FolderBefore] | None = None,
    known: list[KnownBackup] | None = None,
    backup_max_age_days: Annotated[float, Field(gt=0)] = 2.0,
    keep_days: Annotated[float, Field(ge=1)] = 90.0,
    title: str = "Nightly digest",
    dated: str | None = None,
) -> Digest:
    """Put one night's findings together: what needs attention, the disk, the logs, the backups.

    Parameters
    ----------
    usage
        ``files.usage``'s result for the folder that is watched.
    logs
        ``files.search``'s result for its logs.
    backups
        ``files.find``'s result for all backups.
    checksums
        ``files.checksum``'s result for the young ones, their paths from the same folder.
    before
        Folders as they were noted last; ``None`` or none on the first night.
    known
        Checksums that backups had when they were seen first.
    backup_max_age_days
        Days after which the newest backup is too old.
    keep_days
        Days that figures are kept; ``forget_before`` is that long ago.
    title
        First heading.
    dated
        Date shown, ISO 8601 with its zone; ``None`` is now.

    Raises
    ------
    Permanent
        If ``dated`` is no such date.

    Examples
    --------
    ::

        report:
          task: digest.report
          with:
            usage: "{{ steps.usage.output }}"
            logs: "{{ steps.errors.output }}"
            backups: "{{ steps.backups.output }}"
            checksums: "{{ steps.sums.output }}"
    """
    at = _moment(dated)
    growth = _growth(usage, before or [])
    judged = _judged(checksums, known or [])
    attention = [
        *_disk_attention(usage, growth),
        *_log_attention(logs),
        *_backup_attention(backups, judged, backup_max_age_days, at),
    ]
    night = Night(
        title, at.isoformat(timespec="seconds"), attention, usage, growth, _noted(before), logs, backups, judged
    )
    whole = next((entry.grown_bytes for entry in growth if entry.path == "."), None)
    matching = sum(logs.counts.values())
    counts = Counts(
        len(attention),
        usage.bytes,
        whole,
        matching,
        backups.count,
        sum(1 for entry in judged if entry.state == "changed"),
    )
    return Digest(
        markdown=as_markdown(night),
        dated=night.dated,
        attention=attention,
        level="warning" if attention else "info",
        summary=f"{len(attention)} to look at; {size(usage.bytes)}, {matching} matching lines, {backups.count} backups",
        counts=counts,
        folders=usage.folders,
        logs=[LogRead(file.path, file.size_bytes) for file in logs.files if file.error is None],
        backups=[_seen(entry) for entry in checksums.files if entry.checksum],
        forget_before=(at - timedelta(days=keep_days)).isoformat(timespec="seconds"),
    )


def _moment(dated: str | None) -> datetime:
    if dated is None:
        return datetime.now(UTC)
    try:
        at = datetime.fromisoformat(dated)
    except ValueError as error:
        raise Permanent(f"dated is {dated!r}, which is no date in ISO 8601") from error
    return at.astimezone(UTC) if at.tzinfo else at.replace(tzinfo=UTC)


def _noted(before: list[FolderBefore] | None) -> str | None:
    return max((folder.noted_at for folder in before or []), default=None)


def _growth(usage: Usage, before: list[FolderBefore]) -> list[Growth]:
    """Folders of both nights, those that grew most first."""
    earlier = {folder.path: folder.bytes for folder in before}
    both = [
        Growth(folder.path, folder.bytes, folder.bytes - earlier[folder.path])
        for folder in usage.folders
        if folder.path in earlier
    ]
    return sorted(both, key=lambda entry: (-abs(entry.grown_bytes), entry.path))


def _judged(checksums: Checksums, known: list[KnownBackup]) -> list[JudgedBackup]:
    """Young backups with their state: ``new``, ``unchanged``, ``changed`` or ``unreadable``."""
    earlier = {(backup.path, backup.size_bytes, backup.modified_at): backup for backup in known}
    judged = []
    for file in checksums.files:
        seen = earlier.get((file.path, file.size_bytes or 0, file.modified_at or ""))
        state = "new" if seen is None else "unchanged" if seen.checksum == file.checksum else "changed"
        since = seen.first_seen_at if seen else ""
        judged.append(JudgedBackup(file, "unreadable" if file.error else state, since))
    return judged


def _seen(file: Checksum) -> SeenBackup:
    return SeenBackup(file.path, file.size_bytes or 0, file.modified_at or "", file.checksum or "")


def _disk_attention(usage: Usage, growth: list[Growth]) -> list[str]:
    found = []
    if usage.disk_free_bytes < usage.disk_bytes * _FREE_SHARE:
        free, whole = size(usage.disk_free_bytes), size(usage.disk_bytes)
        found.append(f"The disk has {free} of {whole} left.")
    grown = [
        entry
        for entry in growth
        if entry.grown_bytes >= max(_GROWTH_BYTES, (entry.bytes - entry.grown_bytes) * _GROWTH_SHARE)
    ]
    for entry in grown:
        # Of a folder and the one in it that grew, the inner says where to look.
        inner = [other.grown_bytes for other in grown if other.path != entry.path and _holds(entry.path, other.path)]
        if max(inner, default=0) < entry.grown_bytes * 0.8:
            found.append(f"The folder {entry.path} grew by {size(entry.grown_bytes)} to {size(entry.bytes)}.")
    return found


def _holds(outer: str, inner: str) -> bool:
    return outer == "." or inner.startswith(outer + "/")


def _log_attention(logs: Found) -> list[str]:
    files = {name: sum(1 for file in logs.files if file.counts.get(name)) for name in logs.counts}
    found = [
        f"{count:,} new log {'line matches' if count == 1 else 'lines match'} {name!r}, in {files[name]} "
        f"{'file' if files[name] == 1 else 'files'}."
        for name, count in logs.counts.items()
        if count
    ]
    failed = [file.path for file in logs.files if file.error is not None]
    if failed:
        others = f" and {len(failed) - 1} others" if len(failed) > 1 else ""
        found.append(f"The log {failed[0]}{others} could not be read.")
    return found


def _backup_attention(backups: FoundFiles, judged: list[JudgedBackup], max_age_days: float, at: datetime) -> list[str]:
    if not backups.files:
        return []  # a machine that keeps none there is said in the report, every night the same
    newest = max(datetime.fromisoformat(file.modified_at) for file in backups.files)
    age_days = (at - newest).total_seconds() / 86_400
    found = []
    if age_days > max_age_days:
        found.append(f"The newest backup is {age_days:.1f} days old; it should be at most {max_age_days:g}.")
    for entry in judged:
        if entry.state == "changed":
            found.append(
                f"The backup {entry.file.path} has other bytes than when it was seen first, at the same size and time."
            )
        elif entry.state == "unreadable":
            found.append(f"The backup {entry.file.path} could not be read: {entry.file.error}")
    return found
