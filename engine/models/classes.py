"""Which class a step is of: critical, standard, routine or exploratory.

What the step declares, else rules over what kind of question it is and how long. Words of material are never
read for it: whoever supplies data must not choose how a step is cared for.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

CLASSES = ("critical", "standard", "routine", "exploratory")
_ROUTINE_MAX = 8000
"""Characters up to which reading a text is routine."""
_ROUTINE = ("classify", "extract", "summarise", "many")

ASKED = (
    "You sort steps of a workflow by how much depends on them, from their instructions alone. critical: a mistake is "
    "expensive or cannot be taken back. routine: simple, checked elsewhere, or of little weight. exploratory: ideas or "
    "alternatives are wanted, not one right answer. standard: anything else."
)
"""What a cheap model is told that is asked for the class."""

ANSWER: dict[str, Any] = {
    "type": "object",
    "properties": {"class": {"type": "string", "enum": list(CLASSES)}},
    "required": ["class"],
    "additionalProperties": False,
}


@dataclass(frozen=True, slots=True)
class Classed:
    """A class, and who said so."""

    name: str
    why: str


def class_of(declared: str | None, kind: str, purpose: str, length: int) -> Classed | None:
    """The class by declaration or rule; ``None`` where neither says.

    Parameters
    ----------
    kind, purpose
        Of the question, as ``tasks.asking`` has them.
    length
        Characters of all that is sent.
    """
    if declared:
        return Classed(declared, "declared")
    if kind == "plan":
        return Classed("critical", "all that follows rests on a plan")
    if purpose in ("judge", "check", "vote", "embed", "class"):
        return Classed("standard", f"a {purpose} call")
    if kind in _ROUTINE and length <= _ROUTINE_MAX:
        return Classed("routine", f"{kind} of a short text")
    return None
