"""Which engine this is, as it was installed."""

from __future__ import annotations

from functools import cache
from importlib.metadata import PackageNotFoundError, version


@cache
def engine_version() -> str:
    """The installed version; ``unknown`` where the engine runs out of a folder that was never installed."""
    try:
        return version("flywheel-engine")
    except PackageNotFoundError:
        return "unknown"
