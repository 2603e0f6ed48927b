"""How lists and maps are written in one environment variable: with commas, or as JSON.

``FLYWHEEL_TASK_MODULES=tasks,mine`` and ``FLYWHEEL_POOLS=db=4,api=2`` are what people type; JSON
remains for values that hold a comma themselves.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

from pydantic import BeforeValidator
from pydantic_settings import NoDecode


def _parse_list(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    if value.lstrip().startswith("["):
        return _parse_json(value)
    return tuple(part.strip() for part in value.split(",") if part.strip())


def _parse_map(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    if value.lstrip().startswith("{"):
        return _parse_json(value)
    pairs = {}
    for part in filter(None, (part.strip() for part in value.split(","))):
        name, equals, text = part.partition("=")
        if not equals:
            raise ValueError(f"{part!r} is not name=value; write name=value,name=value or a JSON object")
        pairs[name.strip()] = text.strip()
    return pairs


def _parse_json(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError as error:
        raise ValueError(f"is not JSON: {error}") from error


Names = Annotated[tuple[str, ...], NoDecode, BeforeValidator(_parse_list)]
Sizes = Annotated[dict[str, int], NoDecode, BeforeValidator(_parse_map)]
Amounts = Annotated[dict[str, float], NoDecode, BeforeValidator(_parse_map)]
Texts = Annotated[dict[str, str], NoDecode, BeforeValidator(_parse_map)]
Paths = Annotated[tuple[Path, ...], NoDecode, BeforeValidator(_parse_list)]
