"""Amounts of dollars on the command line. Nothing heavy is imported unless one is given."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    _Number = click.ParamType[float]
else:
    _Number = click.ParamType  # generic only since Click 8.4


class Dollars(_Number):
    """A limit on spend: ``5``, ``0.25`` or ``$5``."""

    name = "usd"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """The amount as a number; fails for what is none, and for nothing, infinity and the like."""
        from engine.costs.money import limit_nusd  # lazy: decimal

        try:
            amount = float(str(value).removeprefix("$"))
        except ValueError:
            self.fail(f"{value!r} is no amount of dollars, such as 5 or 0.25", param, ctx)
        try:
            limit_nusd(amount)
        except ValueError as error:
            self.fail(str(error), param, ctx)
        return amount


DOLLARS = Dollars()
