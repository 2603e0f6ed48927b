"""Times and durations as people read them."""

from __future__ import annotations

from datetime import UTC, datetime

from engine.errors import UsageError

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


def stamp(seconds: float | None) -> str | None:
    """An instant in UTC, ISO 8601, to the millisecond; ``None`` stays ``None``."""
    if seconds is None:
        return None
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def local(seconds: float | None) -> str:
    """An instant on this machine's clock, for a table."""
    if seconds is None:
        return "-"
    return datetime.fromtimestamp(seconds).astimezone().strftime("%Y-%m-%d %H:%M:%S")


def span(seconds: float | None) -> str:
    """A duration: ``340ms``, ``3.1s``, ``3m52s``, ``2h05m``, ``3d04h``, ``30d``."""
    if seconds is None:
        return "-"
    seconds = max(0.0, seconds)
    if seconds < 0.9995:
        return f"{seconds * 1000:.0f}ms"
    if seconds < 59.95:
        return f"{seconds:.1f}s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes}m{rest:02d}s"
    hours, minutes = divmod(minutes, 60)
    if hours < 48:
        return f"{hours}h{minutes:02d}m"
    return f"{hours // 24}d{hours % 24:02d}h" if hours % 24 else f"{hours // 24}d"


def rough(seconds: float) -> str:
    """A duration that is only guessed, without signs that say more than is known: ``4s``, ``3m``, ``2h10m``, ``3d``."""
    if seconds < 90:
        return f"{max(1, round(seconds))}s"
    minutes = round(seconds / 60)
    if minutes < 100:
        return f"{minutes}m"
    if seconds < 48 * 3600:
        return f"{round(seconds / 600) // 6}h{round(seconds / 600) % 6 * 10:02d}m"
    return f"{round(seconds / 86400)}d"


def parse_span(text: str) -> float:
    """Seconds in ``90``, ``30s``, ``5m``, ``2h`` or ``7d``. Raises ``UsageError``."""
    number, unit = (text[:-1], text[-1]) if text[-1:] in _UNITS else (text, "s")
    try:
        value = float(number)
    except ValueError:
        value = -1.0
    if not 0 <= value < 1e10:
        raise UsageError(f"{text!r} is no duration; write for instance 90, 30s, 5m, 2h or 7d")
    return value * _UNITS[unit]
