"""What the installation says of models and money: one YAML file, read once and passed down, a section a module.

The names load on first use: most processes read no such file.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from settings.economy.tree import Economy, load_economy

__all__ = ["Economy", "load_economy"]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module 'settings.economy' has no attribute {name!r}")
    return getattr(import_module("settings.economy.tree"), name)
