"""Reading the environment: the only place that does."""

from __future__ import annotations

import difflib
import json
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import SecretStr, ValidationError
from pydantic_settings.exceptions import SettingsError as SourceError

from settings.errors import SettingsError
from settings.masking import MASK, mask_url, mask_urls_in
from settings.tree import PREFIX, Settings

_SECRET_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")


def load(**overrides: Any) -> Settings:
    """The settings of this process: ``overrides``, else the environment, else ``.env``, else defaults.

    Raises
    ------
    SettingsError
        If a value does not hold, or ``.env`` cannot be read.
    """
    if Path(".env").is_dir():  # pydantic-settings would pass over it in silence
        raise SettingsError(f".env cannot be read: {Path('.env').absolute()} is a folder, not a file of settings")
    try:
        return Settings(**overrides)
    except ValidationError as error:
        lines = [_describe(problem, overrides) for problem in error.errors(include_url=False)]
        raise SettingsError("\n".join(lines)) from None
    except (SourceError, UnicodeDecodeError, OSError) as error:
        raise SettingsError(f".env cannot be read: {error}") from None


def _describe(problem: Any, overrides: Mapping[str, Any]) -> str:
    message = problem["msg"].removeprefix("Value error, ")
    if not problem["loc"]:
        return f"settings do not fit together: {message}"
    field = str(problem["loc"][0])
    variable = PREFIX + field.upper()
    given = overrides.get(field, os.environ.get(variable, _dotenv().get(variable)))
    if given is None:
        given = problem.get("input")
    return f"{variable}={_shown(field, given)}: {message}"


def _shown(field: str, value: Any) -> str:
    annotation = Settings.model_fields[field].annotation if field in Settings.model_fields else None
    if isinstance(value, SecretStr) or annotation == SecretStr | None:
        return MASK
    text = str(value)
    if field.endswith("_url") and "@" in text:
        return mask_url(text)
    if field == "sql_connections":
        text = mask_urls_in(text)
    return text if len(text) <= 200 else text[:200] + "…"


def _dotenv() -> dict[str, str]:
    path = Path(".env")
    if not path.is_file():
        return {}
    lines = (line.strip().removeprefix("export ") for line in path.read_text("utf-8", "replace").splitlines())
    pairs = (line.partition("=") for line in lines if "=" in line and not line.startswith("#"))
    return {name.strip(): value.strip().strip("\"'") for name, _, value in pairs}


def likely_misspellings() -> dict[str, str]:
    """Variables that look like a setting but are none, each with the setting probably meant."""
    known = {PREFIX + name.upper() for name in Settings.model_fields}
    given = {name for name in (*os.environ, *_dotenv()) if name.startswith(PREFIX)} - known
    near = {name: difflib.get_close_matches(name, known, 1, 0.85) for name in sorted(given)}
    return {name: matches[0] for name, matches in near.items() if matches}


def missing_plan_folders(settings: Settings) -> list[Path]:
    """Folders of ``plan_paths`` that were asked for and are not there; the defaults need not be."""
    usual = {path.absolute() for path in Settings.model_fields["plan_paths"].default}
    return [path for path in settings.plan_paths if path not in usual and not path.is_dir()]


def as_environment(settings: Settings) -> dict[str, str]:
    """This process's environment with ``settings`` written in, so that a child process loads the same."""
    return dict(os.environ) | {
        PREFIX + name.upper(): _written(getattr(settings, name)) for name in type(settings).model_fields
    }


def _written(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, SecretStr):
        return value.get_secret_value()
    if isinstance(value, tuple):
        return json.dumps([str(item) for item in value])
    return json.dumps(value) if isinstance(value, dict) else str(value)


def resolve_secret(settings: Settings, name: str) -> str | None:
    """The text of secret ``name``: ``FLYWHEEL_SECRET_NAME``, else its file in ``secrets_dir``; else ``None``.

    In the variable's name, letters are capitals and other signs are ``_``.
    """
    if not _SECRET_NAME.fullmatch(name):
        return None
    text = os.environ.get(f"{PREFIX}SECRET_" + re.sub(r"[^A-Z0-9]", "_", name.upper()))
    if text is None and settings.secrets_dir is not None:
        path = settings.secrets_dir / name
        text = path.read_text("utf-8").rstrip("\r\n") if path.is_file() else None
    return text
