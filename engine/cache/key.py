"""What a result depends on, as one digest: the same digest, the same question.

Exact: parameters are compared as JSON data, keys of maps in any order, and nothing else is taken for
equal. A text is its code points and a number its written form, so that 1 and 1.0 differ; task types
have arguments of one type before they are asked for here.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from engine.errors import UsageError

Kind = Literal["tool", "model", "memory", "policy"]
"""Boundaries with a cache. Nothing uses ``memory`` and ``policy`` yet."""

DEPTH_MAX = 64

_encode = json.JSONEncoder(allow_nan=False, check_circular=False, sort_keys=True, separators=(",", ":")).encode


@dataclass(frozen=True, slots=True)
class Key:
    """Everything a result depends on.

    Parameters
    ----------
    kind
        The boundary at which it is kept.
    name
        Task type, or what the call is named at that boundary.
    tenant
        Whose it is. Never served to another.
    code_hash
        Of the code that makes it; empty where none does.
    params
        The parameters, as JSON data.
    model, prompt_version
        The model asked and the version of what it was told; empty for none.
    tools
        Whatever else it could use, as JSON data: descriptions of a model's tools.
    scope
        Who within the tenant is served: empty for everybody, ``run:<id>`` or ``session:<name>``.
    files
        Name and state of each file that it was made from; see ``engine.cache.files``.
    """

    kind: Kind
    name: str
    tenant: str
    code_hash: str = ""
    params: Any = None
    model: str = ""
    prompt_version: str = ""
    tools: Any = ()
    scope: str = ""
    files: tuple[tuple[str, str], ...] = field(default=())

    def digest(self) -> str:
        """SHA-256 of it all, 64 hexadecimal digits.

        Raises
        ------
        UsageError
            A parameter is no JSON data.
        """
        told = [
            self.kind, self.name, self.tenant, self.code_hash, _normal(self.params, 0), self.model,
            self.prompt_version, _normal(self.tools, 0), self.scope, [list(each) for each in self.files],
        ]  # fmt: skip
        try:
            text = _encode(told)
        except ValueError as error:
            raise UsageError(f"a parameter of {self.name} is no JSON data: {error}") from error
        return hashlib.sha256(text.encode()).hexdigest()


def _normal(value: Any, depth: int) -> Any:
    """``value`` with plain maps and lists; keys of maps must be texts, or 1 and "1" would be the same."""
    if depth > DEPTH_MAX:
        raise UsageError("a parameter nests too deep to be a key")
    if isinstance(value, Mapping):
        wrong = [key for key in value if not isinstance(key, str)]
        if wrong:
            raise UsageError(f"a map with the key {wrong[0]!r} is no JSON data")
        return {str(key): _normal(part, depth + 1) for key, part in value.items()}
    if isinstance(value, str):
        return str(value)
    if isinstance(value, Sequence) and not isinstance(value, bytes | bytearray):
        return [_normal(part, depth + 1) for part in value]
    if value is None or isinstance(value, bool | int | float):
        return value
    raise UsageError(f"{type(value).__name__} is no JSON data")
