"""How a call to a provider goes wrong, told alike for all of them. No texts here that may hold a key."""

from __future__ import annotations

import email.utils
import re
from collections.abc import Mapping
from datetime import UTC, datetime

from engine.errors import FlywheelError, Permanent, Retryable

RETRY_AFTER_MAX_S = 3600.0
"""A longer wait than this is not asked for in earnest."""

_SECONDS = re.compile(r"\d{1,9}(\.\d{1,9})?", re.ASCII)


class ProviderFailure(FlywheelError):  # noqa: N818 - reads better without Error, as those of engine.errors do
    """A provider did not answer.

    Parameters
    ----------
    message
        What happened; shown to people.
    passing
        Whether the same call may go well later.
    delay_s
        Seconds after which the provider wants to be asked again; ``None`` if it does not say.
    billed
        Whether it may bill what it did: it took the request up and broke off.
    status
        Its HTTP status, if it had one.
    """

    def __init__(
        self,
        message: str,
        *,
        passing: bool,
        delay_s: float | None = None,
        billed: bool = False,
        status: int | None = None,
    ) -> None:
        super().__init__(message)
        self.passing, self.delay_s, self.billed, self.status = passing, delay_s, billed, status


class InvalidAnswer(Retryable):
    """A model's answer did not meet its schema, the repaired one neither. ``text`` is what it wrote last."""

    def __init__(self, message: str, text: str = "") -> None:
        super().__init__(message)
        self.text = text


class NoAnswer(Permanent):
    """A model refused, or had no room left to answer in: asked again the same way it does the same.

    ``text`` is what it wrote.
    """

    def __init__(self, message: str, text: str = "") -> None:
        super().__init__(message)
        self.text = text


def delay_asked_s(headers: Mapping[str, str], now: datetime | None = None) -> float | None:
    """Seconds after which a provider wants to be asked again, by its headers; ``None`` if they do not say.

    ``retry-after-ms``, which OpenAI and Azure send besides, is the finer one and goes before ``Retry-After``.
    """
    fine = (headers.get("retry-after-ms") or "").strip()
    if _SECONDS.fullmatch(fine):
        return min(float(fine) / 1000, RETRY_AFTER_MAX_S)
    return retry_after_s(headers.get("retry-after"), now)


def retry_after_s(header: str | None, now: datetime | None = None) -> float | None:
    """Seconds that ``Retry-After`` asks for, a number or a date; ``None`` if it is absent or neither.

    Parts of a second are no part of the RFC, but some send them.

    References
    ----------
    RFC 9110, section 10.2.3.
    """
    if header is None:
        return None
    text = header.strip()
    if _SECONDS.fullmatch(text):
        return min(float(text), RETRY_AFTER_MAX_S)
    try:
        date = email.utils.parsedate_to_datetime(text)
    except ValueError:
        return None
    date = date if date.tzinfo else date.replace(tzinfo=UTC)
    return min(RETRY_AFTER_MAX_S, max(0.0, (date - (now or datetime.now(UTC))).total_seconds()))
