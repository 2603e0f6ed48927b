"""Tags: names of what results depend on, each tenant's its own."""

from __future__ import annotations

from collections.abc import Iterable

from engine.errors import UsageError

TAG_MAX = 256
_BETWEEN = "\x1f"


def scoped(tenant: str, tags: Iterable[str]) -> tuple[str, ...]:
    """Tags as the index names them, each once: those of another tenant are others.

    Raises
    ------
    UsageError
        A tag is empty, too long, or holds a control character.
    """
    return tuple(dict.fromkeys(f"{tenant}{_BETWEEN}{_checked(tag)}" for tag in tags))


def plain(tag: str) -> str:
    """A tag as people wrote it."""
    return tag.partition(_BETWEEN)[2]


def _checked(tag: str) -> str:
    if not 0 < len(tag) <= TAG_MAX or any(ord(sign) < 32 for sign in tag):
        raise UsageError(f"{tag!r} is no tag: 1 to {TAG_MAX} characters, and none that is a control character")
    return tag
