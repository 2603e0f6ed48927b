"""As much of JSON Schema as the plan schema uses. Refuses keywords it does not know, so that none is skipped."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

NOTES = {"$schema", "$defs", "$comment", "title", "description", "default", "format", "examples"}
TYPES: dict[str, Any] = {
    "object": dict, "array": list, "string": str, "integer": int, "number": (int, float), "boolean": bool,
    "null": type(None),
}  # fmt: skip


def problems(value: Any, schema: dict[str, Any], root: dict[str, Any], where: str = "") -> Iterator[str]:
    """What of ``value`` the schema refuses."""
    for keyword, wanted in schema.items():
        if keyword in NOTES or keyword in ("then", "else"):
            continue
        yield from KEYWORDS[keyword](value, wanted, schema, root, where)


def holds(value: Any, schema: Any, root: dict[str, Any]) -> bool:
    return schema if isinstance(schema, bool) else not any(problems(value, schema, root))


def _ref(value, wanted, schema, root, where):
    target = root
    for part in wanted.removeprefix("#/").split("/"):
        target = target[part]
    yield from problems(value, target, root, where)


def _type(value, wanted, schema, root, where):
    fits = isinstance(value, TYPES[wanted]) and (wanted in ("boolean",) or not isinstance(value, bool))
    if not fits:
        yield f"{where}: {value!r} is no {wanted}"


def _any_of(value, wanted, schema, root, where):
    if not any(holds(value, form, root) for form in wanted):
        yield f"{where}: {value!r} has none of {len(wanted)} forms"


def _one_of(value, wanted, schema, root, where):
    if sum(holds(value, form, root) for form in wanted) != 1:
        yield f"{where}: {value!r} has none, or several, of {len(wanted)} forms"


def _all_of(value, wanted, schema, root, where):
    for form in wanted:
        yield from problems(value, form, root, where)


def _if(value, wanted, schema, root, where):
    if holds(value, wanted, root):
        yield from problems(value, schema["then"], root, where)


def _properties(value, wanted, schema, root, where):
    if isinstance(value, dict):
        for name, form in wanted.items():
            if name in value:
                yield from problems(value[name], form, root, f"{where}.{name}")


def _additional(value, wanted, schema, root, where):
    if isinstance(value, dict):
        patterns = schema.get("patternProperties", {})
        for name in value.keys() - schema.get("properties", {}).keys():
            if not any(re.search(pattern, name) for pattern in patterns) and not holds(value[name], wanted, root):
                yield f"{where}: {name!r} does not belong here"


def _pattern_properties(value, wanted, schema, root, where):
    if isinstance(value, dict):
        for pattern, form in wanted.items():
            for name in value:
                if re.search(pattern, name):
                    yield from problems(value[name], form, root, f"{where}.{name}")


def _items(value, wanted, schema, root, where):
    if isinstance(value, list):
        for number, entry in enumerate(value):
            yield from problems(entry, wanted, root, f"{where}[{number}]")


def _required(value, wanted, schema, root, where):
    if isinstance(value, dict):
        yield from (f"{where}: {name!r} is missing" for name in wanted if name not in value)


def _check(fits):
    def keyword(value, wanted, schema, root, where):
        if not fits(value, wanted):
            yield f"{where}: {value!r} does not fit {wanted!r}"

    return keyword


def _number(value):
    return isinstance(value, int | float) and not isinstance(value, bool)


KEYWORDS = {
    "$ref": _ref, "type": _type, "anyOf": _any_of, "oneOf": _one_of, "allOf": _all_of, "if": _if,
    "properties": _properties, "additionalProperties": _additional, "patternProperties": _pattern_properties,
    "items": _items, "required": _required,
    "const": _check(lambda value, wanted: value == wanted),
    "enum": _check(lambda value, wanted: value in wanted),
    "pattern": _check(lambda value, wanted: not isinstance(value, str) or re.search(wanted, value)),
    "minimum": _check(lambda value, wanted: not _number(value) or value >= wanted),
    "maximum": _check(lambda value, wanted: not _number(value) or value <= wanted),
    "exclusiveMinimum": _check(lambda value, wanted: not _number(value) or value > wanted),
    "exclusiveMaximum": _check(lambda value, wanted: not _number(value) or value < wanted),
    "minLength": _check(lambda value, wanted: not isinstance(value, str) or len(value) >= wanted),
    "maxLength": _check(lambda value, wanted: not isinstance(value, str) or len(value) <= wanted),
    "minItems": _check(lambda value, wanted: not isinstance(value, list) or len(value) >= wanted),
    "maxItems": _check(lambda value, wanted: not isinstance(value, list) or len(value) <= wanted),
    "minProperties": _check(lambda value, wanted: not isinstance(value, dict) or len(value) >= wanted),
    "maxProperties": _check(lambda value, wanted: not isinstance(value, dict) or len(value) <= wanted),
    "uniqueItems": _check(lambda value, wanted: True),
    "propertyNames": lambda value, wanted, schema, root, where: (
        problem for name in (value if isinstance(value, dict) else ()) for problem in problems(name, wanted, root, name)
    ),
}  # fmt: skip
