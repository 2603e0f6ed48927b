"""The settings of an installation: one frozen tree, loaded once at a process's start and passed down.

This is the only package that reads the environment. It must import nothing of ``engine``. The names
load on first use: pydantic takes longer to import than `flywheel --help` may take in all.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from settings.errors import SettingsError
    from settings.loading import as_environment, likely_misspellings, load, missing_plan_folders, resolve_secret
    from settings.masking import MASK, mask_url, masked
    from settings.rates import Rate, parse_rate
    from settings.tree import Settings

__all__ = [
    "MASK",
    "Rate",
    "Settings",
    "SettingsError",
    "as_environment",
    "likely_misspellings",
    "load",
    "mask_url",
    "masked",
    "missing_plan_folders",
    "parse_rate",
    "resolve_secret",
]

_HOMES = {
    "MASK": "masking",
    "Rate": "rates",
    "Settings": "tree",
    "SettingsError": "errors",
    "as_environment": "loading",
    "likely_misspellings": "loading",
    "load": "loading",
    "mask_url": "masking",
    "masked": "masking",
    "missing_plan_folders": "loading",
    "parse_rate": "rates",
    "resolve_secret": "loading",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'settings' has no attribute {name!r}")
    return getattr(import_module(f"settings.{_HOMES[name]}"), name)
