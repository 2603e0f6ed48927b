"""The economy's file as one frozen object: each section with its defaults, and errors that name the place."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import ConfigDict, Field, ValidationError

from settings.economy.budgets import Budgets
from settings.economy.caching import CachesSection
from settings.economy.models import ModelsSection
from settings.economy.prices import Prices
from settings.economy.routing import ClassesSection, RoutingSection
from settings.errors import SettingsError

SIZE_LIMIT_BYTES = 4 * 1024 * 1024


class Economy(ModelsSection):
    """Everything that the file says; a section that it leaves out has its defaults."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    prices: Prices = Field(default_factory=lambda: Prices.model_validate({}))
    budgets: Budgets = Field(default_factory=Budgets)
    classes: ClassesSection = Field(default_factory=ClassesSection)
    routing: RoutingSection = Field(default_factory=RoutingSection)
    caches: CachesSection = Field(default_factory=CachesSection)


def load_economy(path: Path | None) -> Economy:
    """What the file at ``path`` says; ``None`` gives the defaults.

    Raises
    ------
    SettingsError
        If it cannot be read, is no YAML mapping, or says what does not hold; one line a problem.
    """
    if path is None:
        return Economy()
    try:
        return Economy.model_validate(_read(path))
    except ValidationError as error:
        lines = [_told(path, problem) for problem in error.errors(include_url=False, include_input=False)]
        raise SettingsError("\n".join(lines)) from None


def _read(path: Path) -> Any:
    import yaml  # lazy: most processes read no such file

    try:
        if path.stat().st_size > SIZE_LIMIT_BYTES:
            raise SettingsError(f"FLYWHEEL_ECONOMY: {path} is larger than {SIZE_LIMIT_BYTES:,} bytes")
        data = yaml.safe_load(path.read_text("utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"FLYWHEEL_ECONOMY: {path} cannot be read: {error}") from None
    except (yaml.YAMLError, RecursionError) as error:
        mark = getattr(error, "problem_mark", None)
        where = f"{path}:{mark.line + 1}:{mark.column + 1}" if mark else str(path)
        raise SettingsError(f"FLYWHEEL_ECONOMY: {where}: {getattr(error, 'problem', None) or 'no YAML'}") from None
    if data is not None and not isinstance(data, dict):
        raise SettingsError(f"FLYWHEEL_ECONOMY: {path} holds no mapping of sections")
    return data or {}


def _told(path: Path, problem: Any) -> str:
    where = ".".join(str(part) for part in problem["loc"])
    return f"FLYWHEEL_ECONOMY: {path}: {where}: {problem['msg'].removeprefix('Value error, ')}"
