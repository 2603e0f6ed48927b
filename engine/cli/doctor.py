"""`flywheel doctor`: whether this installation can work, and whether a run's record can be true."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import click

from engine.cli.exits import Exit
from engine.cli.output import output_option, print_rows
from engine.cli.session import Session
from engine.errors import FlywheelError, Unavailable

if TYPE_CHECKING:
    from settings import Settings

_CANARY_TIMEOUT_S = 5.0


@click.command()
@click.option("--audit", "audited", metavar="RUN", help="Check what SQL says of a run against the engine's guarantees.")
@output_option
@click.pass_obj
def doctor(session: Session, audited: str | None, output: str) -> None:
    """Check this installation: settings, database, artefacts, Redis, a scheduler's answer, workers, plans.

    \b
    Examples:
      flywheel doctor
      flywheel doctor --audit @last
    """
    if audited is not None:
        sys.exit(_audit(session, audited, output))
    rows = [_checked(name, check, session.settings) for name, check in _CHECKS]
    print_rows(rows, output, "flywheel.doctor/1")
    sys.exit(Exit.OK if all(row["ok"] for row in rows) else Exit.UNAVAILABLE)


def _audit(session: Session, run: str, output: str) -> int:
    with session.client() as client:
        found = client.run(run)
        findings = client.audit(found.id)
    rows = [
        {
            "run": found.id,
            "invariant": each.invariant,
            "finding": each.message,
            "rows": [list(row) for row in each.rows],
        }
        for each in findings
    ]
    print_rows(rows, output, "flywheel.audit/1")
    if not rows:
        click.echo(f"{found.id} {found.state.value}: the record holds", err=True)
    return Exit.FAILED if rows else Exit.OK


def _checked(name: str, check: Callable[[Settings], str], settings: Settings) -> dict[str, Any]:
    try:
        return {"check": name, "ok": True, "finding": check(settings)}
    except FlywheelError as error:
        return {"check": name, "ok": False, "finding": str(error)}


def _database(settings: Settings) -> str:
    from engine.api.client import Client  # lazy: sqlmodel
    from settings import mask_url

    with Client(settings) as client:
        count = len(client.store.list_runs(limit=1))
    return f"{mask_url(settings.database_url)}, {'has runs' if count else 'no run yet'}"


def _artefacts(settings: Settings) -> str:
    from engine.artefacts.store import ArtefactStore  # lazy: fsspec
    from settings import mask_url

    store = ArtefactStore(settings.artefact_url)
    if store.get(store.put(b'"canary"')) != b'"canary"':
        raise Unavailable(f"{mask_url(settings.artefact_url)} gave back something else than was stored")
    return f"{mask_url(settings.artefact_url)}, written and read"


def _redis(settings: Settings) -> str:
    from settings import mask_url

    url = _url(settings)
    if url is None:
        from engine.runtime.embedded.redis import find_redis  # lazy: looks for the binary

        return f"none runs; `flywheel run` and `flywheel up` start {find_redis()}"
    from engine.hotstate.scheduler import RedisHotState  # lazy: redis

    hot = RedisHotState(url, settings.namespace)
    try:
        run_id, _ = hot.epoch()
    finally:
        hot.close()
    return f"{mask_url(url)} answers, server {run_id[:8]}"


def _work(settings: Settings) -> str:
    url = _url(settings)
    if url is None:
        return "no stack is running here; `flywheel up` starts one"
    from engine.api.readiness import wait_ready  # lazy: redis

    wait_ready(settings.model_copy(update={"redis_url": url}), _CANARY_TIMEOUT_S)
    return "every shard has a scheduler that answers, every queue a worker"


def _plans(settings: Settings) -> str:
    from engine.api.plans import known_plans, prepare  # lazy: the plan floor and the task modules

    names = sorted(known_plans(settings))
    for name in names:
        prepare(name, settings)
    return f"{len(names)} hold: {', '.join(names)}"


def _url(settings: Settings) -> str | None:
    from engine.api.client import embedded_url  # lazy: sqlmodel

    return settings.redis_url or embedded_url(settings)


_CHECKS: tuple[tuple[str, Callable[[Settings], str]], ...] = (
    ("database", _database),
    ("artefacts", _artefacts),
    ("redis", _redis),
    ("scheduler and workers", _work),
    ("plans", _plans),
)
