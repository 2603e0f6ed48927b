"""Rate limits as people write them: ``10/s``, ``600/m``, ``100/h``, with a burst ``10/s:20``."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

_SECONDS = {"s": 1.0, "m": 60.0, "h": 3600.0}
_RATE = re.compile(r"(?P<count>\d+(?:\.\d+)?)\s*/\s*(?P<unit>[smh])(?:\s*:\s*(?P<burst>\d+))?")


@dataclass(frozen=True, slots=True)
class Rate:
    """A token bucket: ``per_s`` tokens flow in each second, at most ``burst`` are kept."""

    per_s: float
    burst: int


def parse_rate(text: str) -> Rate:
    """The rate that ``text`` says.

    Without a burst, a bucket keeps one second's worth of tokens and at least one, so that a limit
    of ``1/h`` still lets the first call through at once.

    Raises
    ------
    ValueError
        If it is not a rate, or nothing could ever pass.
    """
    match = _RATE.fullmatch(text.strip())
    if match is None:
        raise ValueError(f"{text!r} is not a rate; write for instance 10/s, 600/m, 100/h or 10/s:20")
    per_s = float(match["count"]) / _SECONDS[match["unit"]]
    burst = int(match["burst"]) if match["burst"] else max(1, math.ceil(per_s))
    if per_s <= 0 or burst < 1:
        raise ValueError(f"{text!r} would never let anything pass")
    return Rate(per_s, burst)
