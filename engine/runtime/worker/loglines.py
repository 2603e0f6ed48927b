"""The lines that a body logs: masked, bounded, and handed over once."""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from engine.runtime.masking import Masker

LINES_MAX = 1000
BYTES_MAX = 64 * 1024
_LINE_MAX = 4000


class LogLines:
    """``TaskLog`` of one attempt. Safe for threads: a body may log from several.

    Past ``LINES_MAX`` lines or ``BYTES_MAX`` characters it only counts, and its last line says how
    many were dropped.
    """

    def __init__(self, masker: Masker) -> None:
        self._mask = masker.mask
        self._lock = threading.Lock()
        self._lines: list[str] = []
        self._taken = 0
        self._size = 0
        self._dropped = 0

    def info(self, message: str, **facts: Any) -> None:
        self._add("info", message, facts)

    def warning(self, message: str, **facts: Any) -> None:
        self._add("warning", message, facts)

    def error(self, message: str, **facts: Any) -> None:
        self._add("error", message, facts)

    def hand_over(self, send: Callable[[tuple[str, ...]], None]) -> None:
        """Give lines that nobody has to ``send``; if it raises, they stay ours."""
        with self._lock:
            send(tuple(self._lines[self._taken :]))
            self._taken = len(self._lines)

    def rest(self) -> tuple[str, ...]:
        """The lines that nobody has, at the attempt's end."""
        with self._lock:
            lines = self._lines[self._taken :]
            self._taken = len(self._lines)
        return (*lines, f"… {self._dropped:,} more lines were dropped") if self._dropped else tuple(lines)

    def _add(self, level: str, message: str, facts: dict[str, Any]) -> None:
        at = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        told = "".join(f" {name}={value!r}" for name, value in facts.items())
        line = self._mask(f"{at} {level} {message}{told}")[:_LINE_MAX]
        with self._lock:
            if len(self._lines) >= LINES_MAX or self._size + len(line) > BYTES_MAX:
                self._dropped += 1
                return
            self._lines.append(line)
            self._size += len(line)
