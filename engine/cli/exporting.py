"""`flywheel runs export`: everything of a run in files that outlive it."""

from __future__ import annotations

import json
import os
import shutil
import tarfile
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import click

from engine.cli.names import RUN
from engine.cli.session import Session
from engine.cli.times import stamp
from engine.errors import NotFound, Unavailable, UsageError
from engine.version import engine_version

if TYPE_CHECKING:
    from engine.api.client import Client

_SCHEMA = "flywheel.export/1"


@click.command()
@click.argument("run", type=RUN)
@click.option(
    "-o", "--output", "target", default="json", show_default=True, metavar="DIR|FILE.tar.gz|json",
    help="A new folder, an archive, or JSON lines on stdout (without artefacts).",
)  # fmt: skip
@click.pass_obj
def export(session: Session, run: str, target: str) -> None:
    """Write everything of RUN: its plan, inputs, steps, nodes, attempts, decisions, logs, and artefacts.

    A folder or archive holds `export.json`, a file of JSON lines for each table, and `artefacts/` with
    each large value under its digest. Inputs and results are in it as they are stored: mind who reads them.

    \b
    Examples:
      flywheel runs export @last -o night.tar.gz
      flywheel runs export @last -o night/
      flywheel runs export @last | jq 'select(.table == "attempt")'
    """
    with session.client() as client:
        found = client.run(run).id
        if target in ("json", "-"):
            for table, row in client.store.rows(found, set()):
                click.echo(_line({"schema": _SCHEMA, "table": table, **row}))
            return
        path = Path(target)
        if path.exists() and not (path.is_dir() and not any(path.iterdir())):
            raise UsageError(f"{path} is there already; name a new folder or file")
        # Beside the target, so that it appears whole, by a rename, or not at all.
        path.absolute().parent.mkdir(parents=True, exist_ok=True)
        draft = Path(tempfile.mkdtemp(prefix=".export-", dir=path.absolute().parent))
        try:
            told = _fill(client, found, draft)
            _publish(draft, path, found)
        except OSError as error:
            raise Unavailable(f"cannot write {path}: {error.strerror or error}") from error
        finally:
            shutil.rmtree(draft, ignore_errors=True)
    click.echo(f"{path}: {told}", err=True)


def _fill(client: Client, run_id: str, folder: Path) -> str:
    references: set[str] = set()
    counts: dict[str, int] = {}
    with ExitStack() as files:
        open_files: dict[str, IO[str]] = {}
        for table, row in client.store.rows(run_id, references):
            if table not in open_files:
                open_files[table] = files.enter_context((folder / f"{table}.jsonl").open("w", encoding="utf-8"))
            open_files[table].write(_line(row) + "\n")
            counts[table] = counts.get(table, 0) + 1
    missing = _copy_artefacts(client, references, folder / "artefacts")
    about = {
        "schema": _SCHEMA,
        "run": run_id,
        "engine": engine_version(),
        "exported_at": stamp(time.time()),
        "rows": counts,
        "artefacts": len(references) - len(missing),
        "missing_artefacts": missing,
    }
    (folder / "export.json").write_text(json.dumps(about, indent=2) + "\n", encoding="utf-8")
    gone = f", {len(missing)} artefacts are gone" if missing else ""
    return f"{sum(counts.values())} rows, {about['artefacts']} artefacts{gone}"


def _copy_artefacts(client: Client, references: set[str], folder: Path) -> list[str]:
    missing = []
    for digest in sorted(references):
        folder.mkdir(exist_ok=True)
        try:
            (folder / digest).write_bytes(client.artefacts.get(digest))
        except (NotFound, Unavailable):
            missing.append(digest)
    return missing


def _publish(draft: Path, path: Path, run_id: str) -> None:
    if path.name.endswith((".tar.gz", ".tgz")):
        packed = draft.with_suffix(".tar.gz")
        try:
            with tarfile.open(packed, "w:gz") as archive:
                archive.add(draft, arcname=run_id)
            packed.replace(path)
        finally:
            packed.unlink(missing_ok=True)
    else:
        if path.is_dir():
            path.rmdir()
        umask = os.umask(0)
        os.umask(umask)
        draft.chmod(0o777 & ~umask)
        draft.replace(path)


def _line(row: dict[str, Any]) -> str:
    return json.dumps(row, ensure_ascii=False, default=str)
