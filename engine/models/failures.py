"""How a call to a provider goes wrong, told alike for all of them. No texts here that may hold a key."""

from __future__ import annotations

import email.utils
from datetime import UTC, datetime

from engine.errors import FlywheelError, Retryable

_PASSING = frozenset({408, 409, 425, 429})
RETRY_AFTER_MAX_S = 3600.0
"""A longer wait than this is not asked for in earnest."""


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


def refused(provider: str, status: int, said: str, retry_after: str | None, key_name: str | None) -> ProviderFailure:
    """The failure of an answer with ``status``.

    Parameters
    ----------
    said
        The provider's own message. It is left out where a key was refused: some quote it.
    retry_after
        Its header ``Retry-After``, seconds or a date.
    key_name
        Name of the secret with the key.
    """
    if status in (401, 403):
        what = f"secret {key_name!r}" if key_name else "no key, because none is declared for it"
        message = f"{provider} refused the call ({status}) with {what}"
        return ProviderFailure(message, passing=False, status=status)
    passing = status in _PASSING or status >= 500
    message = f"{provider} answered {status}: {said[:500]}" if said else f"{provider} answered {status}"
    return ProviderFailure(message, passing=passing, delay_s=retry_after_s(retry_after), status=status)


def retry_after_s(header: str | None, now: datetime | None = None) -> float | None:
    """Seconds that ``Retry-After`` asks for, a number or a date; ``None`` if it is absent or neither.

    References
    ----------
    RFC 9110, section 10.2.3.
    """
    if header is None:
        return None
    text = header.strip()
    if text.isascii() and text.isdigit():
        return min(float(text), RETRY_AFTER_MAX_S)
    try:
        date = email.utils.parsedate_to_datetime(text)
    except ValueError:
        return None
    date = date if date.tzinfo else date.replace(tzinfo=UTC)
    return min(RETRY_AFTER_MAX_S, max(0.0, (date - (now or datetime.now(UTC))).total_seconds()))
