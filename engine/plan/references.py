"""References: paths such as ``steps.scan.output.files[0]`` into what a step may see.

Shared by templates, conditions and outputs. A path is a tuple of names and indexes, its first the
root: ``inputs``, ``steps``, ``item``, ``index`` or ``run``.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from engine.plan.names import nearest

Path = tuple[str | int, ...]

ROOTS = frozenset({"inputs", "steps", "item", "index", "run"})
STEP_FACTS = frozenset({"output", "state", "error", "count", "failed"})
"""What may follow ``steps.NAME``."""
RUN_FACTS = frozenset({"id", "plan", "session", "tenant", "scheduled_for"})
"""What may follow ``run``."""

PATH_LIMIT = 512
"""Characters of a reference; a longer text is read as an ordinary template."""

_PART = r"""\.[A-Za-z_]\w*|\[-?\d{1,9}\]|\['[^'\\\]]*'\]|\["[^"\\\]]*"\]"""
_PATH = rf"[A-Za-z_]\w*(?:{_PART})*"
_LONE = re.compile(rf"\{{\{{\s*({_PATH})\s*\}}\}}")
_PARTS = re.compile(rf"[A-Za-z_]\w*|{_PART}")


class MissingName(LookupError):  # noqa: N818 - says what it is, as NotFound does
    """A path leads nowhere; the message names what is missing and what there is."""


@dataclass(frozen=True, slots=True)
class References:
    """What a tree of templates, or a condition, refers to.

    Parameters
    ----------
    paths
        Every path used, as far as it is spelled out.
    problems
        References that cannot be followed before the run: ``steps[item]``, a name that is no root.
    """

    paths: frozenset[Path] = frozenset()
    problems: tuple[str, ...] = ()

    @property
    def steps(self) -> frozenset[str]:
        """Names of the steps referred to."""
        return frozenset([str(path[1]) for path in self.paths if path[0] == "steps" and len(path) > 1])

    @property
    def inputs(self) -> frozenset[str]:
        """Names of the inputs referred to one by one."""
        return frozenset(str(path[1]) for path in self.paths if path[0] == "inputs" and len(path) > 1)

    @property
    def all_inputs(self) -> bool:
        """Whether ``inputs`` is used as a whole."""
        return ("inputs",) in self.paths

    @property
    def uses_item(self) -> bool:
        """Whether ``item`` or ``index`` is used."""
        return any(path[0] in ("item", "index") for path in self.paths)

    def joined(self, other: References) -> References:
        """Both together."""
        return References(self.paths | other.paths, self.problems + other.problems)


NOTHING = References()


@lru_cache(maxsize=16_384)
def lone_reference(text: str) -> Path | None:
    """The path, if ``text`` is exactly one reference and nothing else: ``{{ steps.scan.output }}``."""
    match = _LONE.fullmatch(text) if len(text) <= PATH_LIMIT else None
    return parse_path(match[1]) if match else None


def parse_path(text: str) -> Path:
    """A path of its text, which must have a path's form."""
    return tuple(_part(part) for part in _PARTS.findall(text))


def _part(part: str) -> str | int:
    if part.startswith("."):
        return part[1:]
    if part.startswith("["):
        return part[2:-2] if part[1] in "'\"" else int(part[1:-1])
    return part


def path_text(path: Sequence[str | int]) -> str:
    """A path as people write it."""
    text = str(path[0])
    for part in path[1:]:
        if isinstance(part, str) and part.isidentifier():
            text += f".{part}"
        else:
            text += f"[{part!r}]"
    return text


def collect(paths: Iterable[Path]) -> References:
    """References of the paths a template or a condition uses, with what is wrong with them."""
    kept = frozenset(paths)
    problems = [problem for path in kept if (problem := _problem(path))]
    return References(kept, tuple(sorted(problems)) if problems else ())


def _problem(path: Path) -> str | None:
    root, *rest = path
    if root not in ROOTS:
        return f"there is no {root!r} here{nearest(str(root), ROOTS)}"
    if root == "steps":
        if not rest or not isinstance(rest[0], str):
            return "'steps' must be followed by a step's name, as in steps.scan.output"
        if len(rest) == 1:
            return None
        if rest[1] not in STEP_FACTS:
            return f"{path_text(path[:2])} has no {rest[1]!r}{nearest(str(rest[1]), STEP_FACTS)}"
    if root == "run" and rest and rest[0] not in RUN_FACTS:
        return f"run has no {rest[0]!r}{nearest(str(rest[0]), RUN_FACTS)}"
    return None


def follow(path: Path, environment: Mapping[str, Any]) -> Any:
    """What ``path`` leads to.

    Raises
    ------
    MissingName
        Naming the part that is missing and what there is in its place.
    """
    value: Any = environment
    for depth, part in enumerate(path):
        try:
            value = _inside(value, part)
        except (KeyError, IndexError):
            raise MissingName(missing(path, depth, value)) from None
    return value


def _inside(holder: Any, part: str | int) -> Any:
    if isinstance(holder, Mapping):
        return holder[part]
    if isinstance(holder, Sequence) and not isinstance(holder, str) and isinstance(part, int):
        return holder[part]
    raise KeyError(part)


def missing(path: Path, depth: int, holder: Any) -> str:
    """Why ``path[depth]`` is not in ``holder``, for people."""
    part = path[depth]
    whole = path_text(path)
    if depth == 0:
        return f"{whole}: there is no {part!r} here{nearest(str(part), map(str, holder))}"
    return f"{whole}: {path_text(path[:depth])} has no {part!r}{contents(str(part), holder)}"


def contents(part: str, holder: Any) -> str:
    """What a value holds in place of a missing ``part``, as the closing remark of a message."""
    if isinstance(holder, Mapping):
        return nearest(part, (str(key) for key in holder))
    if isinstance(holder, Sequence) and not isinstance(holder, str):
        return f"; it is a list of {len(holder)}"
    return f"; it is {kind_of(holder)}"


def kind_of(value: Any) -> str:
    """What kind of plain data a value is, for people."""
    kind = {type(None): "null", str: "text", bool: "a boolean", int: "a number", float: "a number"}
    if isinstance(value, list | dict):
        return "a list" if isinstance(value, list) else "an object"
    return kind.get(type(value), type(value).__name__)
