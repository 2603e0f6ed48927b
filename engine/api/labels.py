"""What a run may be called: session, tenant, idempotency key, tags, priority."""

from __future__ import annotations

from collections.abc import Iterable

from engine.errors import UsageError

LABEL_MAX = 200
"""Characters of a session, tenant, key or tag."""
PRIORITY_MAX = 1000
"""Priorities go from minus this to this; the same bound as a plan's own."""


def check_labels(
    *, session: str, tenant: str, idempotency_key: str | None, priority: int | None, tags: Iterable[str]
) -> None:
    """Raise ``UsageError`` for what would not fit a list, a log line or the database."""
    named = [("session", session), ("tenant", tenant), *(("tag", tag) for tag in tags)]
    if idempotency_key is not None:
        named.append(("idempotency key", idempotency_key))
    for what, text in named:
        if not 0 < len(text) <= LABEL_MAX or not text.isprintable():
            raise UsageError(f"{what} {text[:40]!r} must be 1 to {LABEL_MAX} printable characters")
    if priority is not None and abs(priority) > PRIORITY_MAX:
        raise UsageError(f"priority {priority} must be between -{PRIORITY_MAX} and {PRIORITY_MAX}")


def without_lineage(tags: Iterable[str]) -> tuple[str, ...]:
    """The tags that say nothing of which run a run repeats."""
    return tuple(tag for tag in tags if not tag.startswith("retry-of:"))
