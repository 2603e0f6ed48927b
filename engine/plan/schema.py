"""The JSON Schema of plan files, for editors to check and complete from."""

from __future__ import annotations

from typing import Any

from engine.plan.model import Plan


def plan_schema() -> dict[str, Any]:
    """JSON Schema, draft 2020-12, of a plan file."""
    schema = Plan.model_json_schema(by_alias=True, mode="validation")
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": "Flywheel plan", **schema}
