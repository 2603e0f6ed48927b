"""The few settings that shell completion needs, read without the tree: a key press must not wait for pydantic.

What is read here is a guess for convenience: nothing acts on it.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

_SHIPPED = Path(__file__).resolve().parent.parent / "dags"


def quick_database() -> Path | None:
    """The SQLite file of this installation; ``None`` where runs are kept elsewhere."""
    url = _value("database_url")
    if url:
        return Path(url.removeprefix("sqlite:///")) if url.startswith("sqlite:///") else None
    return Path(_value("home") or ".flywheel") / "flywheel.db"


def quick_plan_folders() -> tuple[Path, ...]:
    """The folders in which plans are looked up by name."""
    text = _value("plan_paths")
    if not text:
        return Path("dags"), _SHIPPED
    names = json.loads(text) if text.startswith("[") else text.split(",")
    return tuple(Path(str(name).strip()).expanduser() for name in names)


def _value(name: str) -> str:
    variable = f"FLYWHEEL_{name.upper()}"
    if os.environ.get(variable):
        return os.environ[variable]
    try:
        lines = Path(".env").read_text("utf-8", "replace").splitlines()
    except OSError:
        return ""
    for line in lines:
        key, equals, value = line.strip().removeprefix("export ").partition("=")
        if equals and key.strip() == variable:
            return value.strip().strip("\"'")
    return ""
