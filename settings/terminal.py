"""What the environment says about terminals; kept light, because every command asks."""

from __future__ import annotations

import os


def plain_output_wanted() -> bool:
    """Whether colour and moving lines are unwelcome: ``NO_COLOR`` or ``CI`` is set, or the terminal is dumb."""
    return bool(os.environ.get("NO_COLOR") or os.environ.get("CI")) or os.environ.get("TERM") == "dumb"
