"""How a failed attempt looks to Celery, and so to Flower."""

from __future__ import annotations

from celery.exceptions import SoftTimeLimitExceeded

__all__ = ["AttemptFailed", "SoftTimeLimitExceeded"]


class AttemptFailed(Exception):  # noqa: N818 - what Flower shows as the exception's name
    """Nodes of this delivery did not succeed. Raised after they were reported; the message is masked."""
