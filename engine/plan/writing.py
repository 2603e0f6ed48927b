"""A plan as a plan file: what ``plan show -o yaml`` prints, and reading gives back."""

from __future__ import annotations

from typing import Any

import yaml

from engine.plan.document import NUMBERS
from engine.plan.model import Plan, plan_data

_NEVER_FOLDED = 2**30  # columns; folding would hide what a template says


def plan_yaml(plan: Plan) -> str:
    """A plan as YAML; reading it gives a plan of the same version."""
    data = plan_data(plan)
    ordered = {key: data[key] for key in type(plan).model_fields if key in data}
    text: str = yaml.dump(ordered, Dumper=_PlanDumper, sort_keys=False, allow_unicode=True, width=_NEVER_FOLDED)
    return text


class _PlanDumper(yaml.CSafeDumper):
    """PyYAML's own, which also quotes what only YAML 1.2, and so our reader, takes for a number."""

    def ignore_aliases(self, data: Any) -> bool:  # noqa: ARG002 - as PyYAML calls it
        return True


def _text(dumper: _PlanDumper, text: str) -> yaml.ScalarNode:
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style="|" if "\n" in text.rstrip("\n") else None)


_PlanDumper.add_representer(str, _text)
_PlanDumper.add_implicit_resolver("tag:yaml.org,2002:float", NUMBERS, list("+-.0123456789"))
