"""Durations as plans write them: a number of seconds, or ``500ms``, ``30s``, ``5m``, ``2h``, ``1d``."""

from __future__ import annotations

import math
import re
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, WithJsonSchema

_PATTERN = re.compile(r"(\d{1,12}(?:\.\d{1,9})?) ?(ms|s|m|h|d)")
_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}


def duration_s(value: Any) -> float:
    """Seconds of a duration as written.

    Raises
    ------
    ValueError
        ``value`` is neither a finite number nor a text such as ``5m``.
    """
    if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value):
        return float(value)
    match = _PATTERN.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        raise ValueError(f"{value!r} is no duration: give seconds as a number, or 500ms, 30s, 5m, 2h, 1d")
    return float(match[1]) * _SECONDS[match[2]]


_SCHEMA = WithJsonSchema({
    "anyOf": [{"type": "number", "minimum": 0}, {"type": "string", "pattern": f"^{_PATTERN.pattern}$"}],
})  # fmt: skip

Duration = Annotated[float, Field(ge=0, allow_inf_nan=False), BeforeValidator(duration_s), _SCHEMA]
"""Zero or more seconds."""

PositiveDuration = Annotated[float, Field(gt=0, allow_inf_nan=False), BeforeValidator(duration_s), _SCHEMA]
"""More than zero seconds."""
