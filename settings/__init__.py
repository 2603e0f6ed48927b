"""The settings of an installation: one frozen tree, loaded once at a process's start and passed down.

This is the only package that reads the environment. It must import nothing of ``engine``.
"""

from __future__ import annotations

from settings.loading import SettingsError, as_environment, likely_misspellings, load, resolve_secret
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
    "parse_rate",
    "resolve_secret",
]
