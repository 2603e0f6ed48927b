"""Answers that must be data of a given form: read, checked, and what to say to a model that missed it. No calls."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import replace
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import orjson

from engine.errors import Permanent
from engine.models.request import Message, Request

if TYPE_CHECKING:
    from jsonschema.protocols import Validator

_FENCE = re.compile(r"^\s*```[a-zA-Z]*\s*\n(.*?)\n?\s*```\s*$", re.DOTALL)
_PROBLEMS_SHOWN = 8
_TEXT_SHOWN = 20_000


def read(text: str, schema: Mapping[str, Any]) -> tuple[Any, list[str]]:
    """The data that ``text`` is and what is wrong with it, nothing if it meets ``schema``.

    A code fence around it is passed over: many models write one.
    """
    fenced = _FENCE.match(text)
    try:
        # Stricter than the standard library: NaN, halves of characters and endless nesting could not be told on.
        data = orjson.loads(fenced.group(1) if fenced else text)
    except (ValueError, RecursionError) as error:
        return None, [f"it is not JSON: {error}"]
    return data, problems(data, schema)


def problems(data: Any, schema: Mapping[str, Any]) -> list[str]:
    """What of ``data`` does not meet ``schema``, each with its place. Raises ``Permanent`` for a bad schema."""
    validator = _validator(json.dumps(schema, sort_keys=True))
    found = sorted(validator.iter_errors(data), key=lambda error: [str(part) for part in error.absolute_path])
    return [f"{error.json_path}: {error.message[:300]}" for error in found[:_PROBLEMS_SHOWN]]


def repair(request: Request, text: str, wrong: list[str]) -> Request:
    """``request`` again, with what was answered and what is wrong with it."""
    told = "\n".join(f"- {each}" for each in wrong)
    again = (
        f"That answer cannot be used:\n{told}\n\nAnswer again: the whole answer as one JSON value that meets the "
        "schema, and nothing else."
    )
    said = (Message("assistant", text[:_TEXT_SHOWN] or "(nothing)"), Message("user", again))
    return replace(request, messages=(*request.messages, *said), purpose="repair")


def told(schema: Mapping[str, Any]) -> str:
    """What a model is told that takes no schema."""
    shown = json.dumps(schema, ensure_ascii=False, sort_keys=True)
    return f"Answer with one JSON value that meets this JSON Schema, and nothing else:\n{shown}"


@lru_cache(maxsize=256)
def _validator(schema: str) -> Validator:
    import jsonschema  # a tenth of a second to load: only who asks for data pays
    import referencing

    loaded = json.loads(schema)
    try:
        kind = jsonschema.validators.validator_for(loaded, default=jsonschema.Draft202012Validator)
        kind.check_schema(loaded)
    except jsonschema.SchemaError as error:
        raise Permanent(f"the schema is no JSON Schema: {error.json_path}: {error.message}") from error
    # An empty registry: a reference to another address is never fetched.
    return kind(loaded, registry=referencing.Registry(), format_checker=None)
