"""Named points at which a test may end the process, to see that nothing is lost there.

In production a point is one comparison. Set by the environment variable ``FLYWHEEL_FAULT`` of the
process under test, read once by ``arm``: ``after_commit:3`` ends it, without any clean-up, when the
point ``after_commit`` is passed for the third time.

References
----------
DBOS, ``_debug_trigger.py``: named fault points that do nothing in production.
"""

from __future__ import annotations

import os

_armed: dict[str, int] = {}


def arm(specification: str) -> None:
    """Arm the points of ``name:count[,name:count…]``; an empty specification disarms all."""
    _armed.clear()
    for part in filter(None, specification.split(",")):
        name, _, count = part.partition(":")
        _armed[name] = int(count or 1)


def point(name: str) -> None:
    """Pass the point ``name``; ends the process at once if it is armed and due."""
    if not _armed or name not in _armed:
        return
    _armed[name] -= 1
    if _armed[name] <= 0:
        os._exit(86)
