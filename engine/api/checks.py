"""What `flywheel doctor` asks: each check looks at one thing and says how it is, and how to mend it.

A check never raises for what it finds, changes nothing that lasts, and ends within seconds.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from urllib.parse import urlsplit

from engine.errors import FlywheelError
from settings import Settings, mask_url
from settings.errors import SettingsError

_SKEW_WARN_S, _SKEW_FAIL_S = 1.0, 30.0
_SPACE_WARN_BYTES, _SPACE_FAIL_BYTES = 2 * 1024**3, 100 * 1024**2
_MEMORY_WARN_SHARE = 0.8
_OLDEST_REDIS = (6, 2)


class Status(StrEnum):
    """How serious a finding is."""

    OK = "OK"  # as it should be
    WARN = "WARN"  # works, and will cost somebody a night
    FAIL = "FAIL"  # work does not get done, or is not safe


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the doctor. ``fix`` is empty where there is nothing to do."""

    check: str
    status: Status
    finding: str
    fix: str = ""


def database_findings(settings: Settings, stack_runs: bool) -> Iterator[Finding]:
    """Reachable, of this engine's schema, whole, its clock, and who schedules each shard."""
    from engine.store.health import database_health  # lazy: sqlalchemy

    try:
        found = database_health(settings.database_url)
    except FlywheelError as error:
        yield Finding("database", Status.FAIL, str(error), "start it, or correct FLYWHEEL_DATABASE_URL")
        return
    where = f"{found.server} at {mask_url(settings.database_url)}"
    if found.asynchronous:
        yield Finding(
            "database", Status.FAIL, f"{where}: synchronous_commit is off, so a recorded result may be lost",
            "ALTER SYSTEM SET synchronous_commit = on; SELECT pg_reload_conf()",
        )  # fmt: skip
    else:
        yield Finding("database", Status.OK, where)
    if found.revision == found.expected:
        yield Finding("migrations", Status.OK, f"schema {found.revision}")
    elif found.revision is None:
        yield Finding("migrations", Status.OK, "empty; the first command that uses it makes the tables")
    else:
        yield Finding(
            "migrations", Status.WARN, f"schema {found.revision}, this engine works with {found.expected}",
            "an older one is migrated when a scheduler starts; for a newer one, upgrade this installation",
        )  # fmt: skip
    if found.damage:
        fix = "stop everything, restore the newest backup, see docs/operations.md"
        yield Finding("integrity", Status.FAIL, found.damage, fix)
    elif found.bytes is not None:
        size = f"{found.bytes / 1024**2:.1f} MB"
        read = "read through, whole" if found.damage == "" else "too large to read through here"
        yield Finding("integrity", Status.OK, f"{size}, {read}")
    yield _skew("database clock", found.skew_s)
    for shard in found.shards:
        if shard.lease_left_s > 0 or not shard.unfinished:
            continue
        held = f"{shard.owner}'s lease ended {-shard.lease_left_s:.0f} s ago" if shard.owner else "nobody holds it"
        yield Finding(
            f"shard {shard.shard}", Status.FAIL if stack_runs else Status.WARN,
            f"{held}, and {shard.unfinished} runs have not ended",
            "start a scheduler: `flywheel up`, or `flywheel scheduler` of your installation",
        )  # fmt: skip


def redis_findings(settings: Settings, url: str | None) -> Iterator[Finding]:
    """Reachable, of a version that will do, what it keeps, what it evicts, its memory, its clock."""
    if url is None:
        from engine.runtime.embedded.redis import find_redis  # lazy: looks for the binary

        try:
            yield Finding("redis", Status.OK, f"none runs; `flywheel run` and `flywheel up` start {find_redis()}")
        except FlywheelError as error:
            yield Finding("redis", Status.FAIL, str(error), "install redis-server, or set FLYWHEEL_REDIS_URL")
        return
    from engine.hotstate.health import redis_health  # lazy: redis

    try:
        found = redis_health(url, settings.namespace)
    except FlywheelError as error:
        yield Finding("redis", Status.FAIL, str(error), "start it, or correct FLYWHEEL_REDIS_URL")
        return
    where = f"Redis {found.version} at {mask_url(url)}"
    version = tuple(int(part) for part in found.version.split(".")[:2] if part.isdigit())
    if version < _OLDEST_REDIS:
        yield Finding("redis", Status.FAIL, where, "take Redis 6.2 or later")
    elif found.replica:
        yield Finding("redis", Status.FAIL, f"{where} is a replica, which takes no writes", "name its primary")
    else:
        yield Finding("redis", Status.OK, where)
    yield _persistence(found.appends, found.snapshots, found.write_error)
    if found.eviction == "noeviction":
        yield Finding("redis eviction", Status.OK, "noeviction")
    else:
        status = Status.FAIL if found.memory_limit else Status.WARN
        said = f"{found.eviction}: a full server would drop permits and messages, and work would be done again"
        yield Finding("redis eviction", status, said, "CONFIG SET maxmemory-policy noeviction, and in redis.conf")
    if found.memory_limit:
        share = found.memory_used / found.memory_limit
        status = Status.WARN if share > _MEMORY_WARN_SHARE else Status.OK
        fix = "raise maxmemory, or lower FLYWHEEL_WINDOW_S" if status is Status.WARN else ""
        yield Finding("redis memory", status, f"{share:.0%} of {found.memory_limit / 1024**2:.0f} MB", fix)
    yield _skew("redis clock", found.skew_s)
    yield _versions(found.versions)


def artefact_findings(settings: Settings) -> Iterator[Finding]:
    """What is put can be got, and there is room for more."""
    from engine.artefacts.store import ArtefactStore  # lazy: fsspec

    where = mask_url(settings.artefact_url)
    try:
        store = ArtefactStore(settings.artefact_url)
        whole = store.get(store.put(b'"canary"')) == b'"canary"'
    except FlywheelError as error:
        yield Finding("artefacts", Status.FAIL, str(error), "correct FLYWHEEL_ARTEFACT_URL, or its rights")
        return
    if whole:
        yield Finding("artefacts", Status.OK, f"{where}, written and read")
    else:
        yield Finding("artefacts", Status.FAIL, f"{where} gave back something else", "replace this storage")
    if settings.artefact_url.startswith("file://"):
        yield _space("artefact space", Path(urlsplit(settings.artefact_url).path))
    if settings.home.is_dir():
        yield _space("home space", settings.home)
    yield _space("temporary space", Path(tempfile.gettempdir()))


def code_findings(settings: Settings, url: str | None) -> Iterator[Finding]:
    """Whether the live workers run the code that the task modules have here."""
    if url is None:
        return
    from engine.api.worker_code import RESTART, workers_with_other_code  # lazy: the plan floor and the task modules

    try:
        others = workers_with_other_code(settings, url)
    except FlywheelError as error:
        yield Finding("worker code", Status.FAIL, str(error), "correct FLYWHEEL_TASK_MODULES, or mend the module")
        return
    if others:
        yield Finding("worker code", Status.WARN, f"other code than here on {', '.join(others[:5])}", RESTART)
    else:
        yield Finding("worker code", Status.OK, "as here")


def economy_findings(settings: Settings) -> Iterator[Finding]:
    """The file of prices, budgets and models holds; nothing is said where there is none."""
    if settings.economy is None:
        return
    from settings.economy import load_economy  # lazy: most installations have no such file

    try:
        load_economy(settings.economy)
    except SettingsError as error:
        yield Finding("economy", Status.FAIL, str(error).replace("\n", "; "), "mend the file; docs/economy.md")
    else:
        yield Finding("economy", Status.OK, f"{settings.economy} holds")


def plan_findings(settings: Settings) -> Iterator[Finding]:
    """Every task module can be imported, and every plan in the plan folders holds."""
    from engine.api.plans import known_plans, prepare  # lazy: the plan floor and the task modules

    names = sorted(known_plans(settings))
    broken = []
    for name in names:
        try:
            prepare(name, settings)
        except FlywheelError as error:
            broken.append(
                Finding(f"plan {name}", Status.FAIL, str(error), f"`flywheel plan validate {name}` shows all")
            )
    yield from broken
    if not broken:
        yield Finding("plans", Status.OK, f"{len(names)} hold: {', '.join(names)}")


def _persistence(appends: bool, snapshots: bool | None, error: str) -> Finding:
    if error:
        return Finding("redis persistence", Status.FAIL, error, "make room on its disk; see its log")
    if appends:
        return Finding("redis persistence", Status.OK, "append-only file")
    kept = "only snapshots" if snapshots else "nothing" if snapshots is False else "snapshots perhaps"
    said = f"{kept}: after its restart runs are completed from SQL, and attempts in flight are repeated or asked about"
    return Finding("redis persistence", Status.WARN, said, "CONFIG SET appendonly yes, and in redis.conf")


def _versions(versions: dict[str, str]) -> Finding:
    from engine.version import engine_version

    mine = engine_version()
    others = sorted({version or "unknown" for version in versions.values()} - {mine})
    if not others:
        return Finding("worker versions", Status.OK, f"{len(versions)} workers, {mine} as here")
    names = ", ".join(sorted(name for name, version in versions.items() if version != mine)[:5])
    said = f"{', '.join(others)} on {names}; here {mine}"
    return Finding("worker versions", Status.WARN, said, "upgrade them: `flywheel workers drain NAME`, then start anew")


def _skew(check: str, skew_s: float) -> Finding:
    said = f"{skew_s:+.3f} s from here"
    if abs(skew_s) < _SKEW_WARN_S:
        return Finding(check, Status.OK, said)
    status = Status.FAIL if abs(skew_s) > _SKEW_FAIL_S else Status.WARN
    return Finding(check, status, said, "let NTP keep the clocks (timedatectl set-ntp true)")


def _space(check: str, folder: Path) -> Finding:
    while not folder.exists():
        folder = folder.parent
    free = shutil.disk_usage(folder).free
    said = f"{free / 1024**3:.1f} GB free at {folder}"
    if free >= _SPACE_WARN_BYTES:
        return Finding(check, Status.OK, said)
    status = Status.FAIL if free < _SPACE_FAIL_BYTES else Status.WARN
    return Finding(check, status, said, "`flywheel runs prune --older-than 7d`, or a larger disk")
