"""Inputs of a run from the command line: ``-p name=value``, ``-p name=@file`` and ``--inputs FILE``."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from engine.errors import UsageError

if TYPE_CHECKING:
    from engine.plan.model import Plan

LIMIT_BYTES = 32 << 20
"""Inputs are kept whole in memory and stored with the run; a device or a pipe may never end."""


def gather(plan: Plan, pairs: Iterable[str], file: Path | None) -> dict[str, Any]:
    """The inputs for ``plan``: those of ``file``, and over them those of ``pairs``.

    A value is taken as the type that the plan gives the input: text stays text for a ``string``,
    else it is read as JSON where it is JSON.

    Raises
    ------
    UsageError
        A pair is no pair, a file cannot be read, or a value is not of its input's type.
    """
    given = {} if file is None else _from_file(file)
    for pair in pairs:
        name, equals, text = pair.partition("=")
        if not equals:
            raise UsageError(f"-p {pair}: write name=value, or name=@file")
        declared = plan.inputs.get(name)
        given[name] = _value(name, text, declared.type if declared is not None else "any")
    return given


_EXAMPLES = {"list": """-p '{}=["a", "b"]'""", "object": """-p '{}={{"a": 1}}'"""}
"""How the types whose JSON is not obvious on a command line are given there."""


def _value(name: str, text: str, kind: str) -> Any:
    if text.startswith("@@"):
        text = text[1:]  # a value that itself begins with @
    elif text.startswith("@"):
        text = _read(Path(text[1:]))
    if kind == "string":
        return text
    try:
        return json.loads(text)
    except ValueError:
        if kind == "any":
            return text
        hint = f"; write {_EXAMPLES[kind].format(name)}" if kind in _EXAMPLES else ""
        raise UsageError(
            f"-p {name}={text[:80]}: input {name} is of type {kind}, and this is no JSON of it{hint}"
        ) from None


def _from_file(path: Path) -> dict[str, Any]:
    text = _read(path)
    try:
        if path.suffix in (".yaml", ".yml"):
            from engine.plan.document import read_yaml  # lazy, and hardened against what YAML allows

            data = read_yaml(text, str(path))
        else:
            data = json.loads(text)
    except ValueError as error:
        raise UsageError(f"--inputs {path}: not JSON: {error}") from None
    if not isinstance(data, dict):
        raise UsageError(f"--inputs {path}: must be an object of inputs by name")
    return data


def _read(path: Path) -> str:
    try:
        if str(path) == "-":
            found = sys.stdin.buffer.read(LIMIT_BYTES + 1)
        else:
            with path.open("rb") as file:
                found = file.read(LIMIT_BYTES + 1)
        if len(found) > LIMIT_BYTES:
            raise UsageError(
                f"cannot read {path}: it is larger than {LIMIT_BYTES >> 20} MiB. Give the file's name to a step "
                "that reads it, or its rows with --items"
            )
        return found.decode("utf-8")
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise UsageError(f"cannot read {path}: it is no UTF-8 text") from None
