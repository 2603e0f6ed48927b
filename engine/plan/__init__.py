"""What an author writes: the plan model, its YAML and Python faces, templates and conditions."""

from __future__ import annotations

import sys
from types import ModuleType
from typing import Any


class _PlanPackage(ModuleType):
    """This package, which may be called.

    ``from engine import plan`` means the decorator. But once anything has imported this package,
    Python has bound ``engine.plan`` to it, and that is what the author gets.
    """

    def __call__(self, name: str | None = None, **fields: Any) -> Any:
        from engine.plan.decorators import plan  # lazy: importing the package alone stays cheap

        return plan(name, **fields)


sys.modules[__name__].__class__ = _PlanPackage
