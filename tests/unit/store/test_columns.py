"""What readers name must be what is stored: the light tables equal the SQLModel classes' own."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from sqlalchemy import TableClause

from engine.store import columns, schema
from engine.store.tables import METADATA

LIGHT = {name: value for name, value in vars(columns).items() if isinstance(value, TableClause)}


@pytest.mark.parametrize("name", sorted(LIGHT))
def test_light_tables_have_the_columns_and_types_that_are_stored(name: str) -> None:
    light, stored = LIGHT[name], METADATA.tables[name.lower()]
    assert light.name == stored.name
    assert [(each.name, type(each.type)) for each in light.c] == [(each.name, type(each.type)) for each in stored.c]


def test_reading_runs_loads_no_model_no_migration_and_no_plan() -> None:
    heavy = ("sqlmodel", "alembic", "networkx", "redis", "celery", "tenacity", "jinja2", "fsspec", "engine.plan.model")
    script = (
        "import sys\nimport engine.api.client, engine.store.runs\n"
        f"print('heavy:', *[name for name in {heavy!r} if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.rstrip() == "heavy:"


def test_the_revision_that_is_expected_is_the_newest_migration() -> None:
    folder = Path(schema.__file__).with_name("migrations") / "versions"
    newest = max(file.stem for file in folder.glob("[0-9]*.py"))
    assert newest.startswith(f"{schema.HEAD}_")
