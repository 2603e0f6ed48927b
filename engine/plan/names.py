"""Names in plans: which are allowed, and which was probably meant."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sized
from typing import Annotated

from pydantic import AfterValidator, StringConstraints
from pydantic_core import PydanticCustomError

Identifier = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_]{0,63}$")]
"""Name of a step, an input or a pool."""

PlanName = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_-]{0,63}$")]
"""Name of a plan."""

TaskName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z_]\w*(\.[A-Za-z_]\w*)*$", max_length=128)]
"""Name of a task type, dotted: ``files.read``."""

QueueName = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_.-]{0,63}$")]
"""Name of a queue."""

_COMPARED = 1_000  # comparing a name with many more takes longer than anybody waits for a remark

RESERVED_STEPS = frozenset({"inputs", "outputs"})
"""No step may be called so: they name the two ends of an inlined sub-plan."""


def _free(name: str) -> str:
    if name in RESERVED_STEPS:
        raise PydanticCustomError("reserved", "no step may be called {name}", {"name": name})
    return name


StepName = Annotated[Identifier, AfterValidator(_free)]
"""Name of a step."""


def nearest(name: str, known: Iterable[str]) -> str:
    """A closing remark on an unknown name: the near one if there is one, else what there is.

    Returns
    -------
    str
        Starts with ``; `` or is empty, so that it can be put behind any message.
    """
    if isinstance(known, Sized) and len(known) > _COMPARED:
        return ""
    names = set(known)
    close = difflib.get_close_matches(name, sorted(names), n=1, cutoff=0.6)
    if close:
        return f"; did you mean {close[0]!r}?"
    if not names:
        return "; there is none"
    shown = ", ".join(sorted(names)[:8]) + (", …" if len(names) > 8 else "")
    return f"; there is: {shown}"
