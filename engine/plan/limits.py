"""The work a template or a condition may do, counted instead of timed.

Counting gives the same answer on a slow machine and on any thread, where signals and ``setrlimit``
would not. One unit is of the order of 100 ns. Whatever walks, copies or compares data pays for it
first, so that no expression can do more than its budget. Must not know what a template is.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

WORK_LIMIT = 2_000_000
"""Units one rendering or one condition may use: about a quarter of a second at worst."""

TEXT_LIMIT = 1_000_000
"""Characters of any one text that is made."""

_CHARACTERS_PER_UNIT = 16
_DIGITS_LIMIT_BITS = 4096
_SCALARS = (int, float, type(None))


class TooMuch(Exception):  # noqa: N818 - reads as the sentence it starts
    """The budget is used up, or one value would be too large."""


class Budget:
    """Units left. Not shared between threads."""

    __slots__ = ("left",)

    def __init__(self, units: int = WORK_LIMIT) -> None:
        self.left = units

    def spend(self, units: int) -> None:
        """Pay for work about to be done; raises ``TooMuch``."""
        self.left -= units
        if self.left < 0:
            raise TooMuch("too much work: it loops too often or over too much data; let a task do it")

    def pay_for(self, *values: Any) -> None:
        """Pay for walking through ``values`` with everything in them."""
        stack = list(values)
        while stack:
            value = stack.pop()
            if isinstance(value, str):
                self.spend(1 + len(value) // _CHARACTERS_PER_UNIT)
            elif isinstance(value, Mapping):
                self.spend(1 + 2 * len(value))
                stack.extend(entry for entry in value.values() if not isinstance(entry, _SCALARS))
            elif isinstance(value, list | tuple | set | frozenset):
                self.spend(1 + len(value))
                stack.extend(entry for entry in value if not isinstance(entry, _SCALARS))
            else:
                self.spend(1)

    def each(self, values: Iterable[Any], units: int) -> Iterator[Any]:
        """``values`` one by one, each paid for with ``units``."""
        for value in values:
            self.spend(units)
            yield value


def check_length(characters: int) -> None:
    """Refuse to make a text that long."""
    if characters > TEXT_LIMIT:
        raise TooMuch(f"it would make a text of {characters:,} characters; at most {TEXT_LIMIT:,} are allowed")


def multiply(budget: Budget, left: Any, right: Any) -> Any:
    """``left * right`` for numbers, and a text or list times a small number."""
    for sequence, times in ((left, right), (right, left)):
        if isinstance(sequence, str | list | tuple):
            if not isinstance(times, int):
                raise TypeError("a text or list can only be multiplied by a whole number")
            length = len(sequence) * max(times, 0)
            check_length(length)
            budget.spend(1 + length)
            return sequence * times
    _check_numbers(left, right)
    _check_bits(_bits(left) + _bits(right))
    return left * right


def power(_budget: Budget, left: Any, right: Any) -> Any:
    """``left ** right`` for numbers whose result stays small."""
    _check_numbers(left, right)
    if isinstance(left, int) and isinstance(right, int):
        _check_bits(_bits(left) * abs(right))
    return left**right


def add(budget: Budget, left: Any, right: Any) -> Any:
    """``left + right`` for two numbers, two texts or two lists."""
    if isinstance(left, str) and isinstance(right, str):
        check_length(len(left) + len(right))
        budget.spend(1 + (len(left) + len(right)) // _CHARACTERS_PER_UNIT)
    elif isinstance(left, list | tuple) and isinstance(right, list | tuple):
        budget.spend(1 + len(left) + len(right))
        return [*left, *right]
    else:
        _check_numbers(left, right)
    return left + right


def subtract(_budget: Budget, left: Any, right: Any) -> Any:
    """``left - right`` for numbers."""
    _check_numbers(left, right)
    return left - right


def divide(_budget: Budget, left: Any, right: Any) -> Any:
    """``left / right`` for numbers."""
    _check_numbers(left, right)
    return left / right


def floor_divide(_budget: Budget, left: Any, right: Any) -> Any:
    """``left // right`` for numbers."""
    _check_numbers(left, right)
    return left // right


def modulo(_budget: Budget, left: Any, right: Any) -> Any:
    """``left % right`` for numbers; on texts it would format, which has no bound."""
    _check_numbers(left, right)
    return left % right


def _check_numbers(left: Any, right: Any) -> None:
    for value in (left, right):
        if not isinstance(value, int | float):
            raise TypeError(f"numbers are needed here, not {type(value).__name__}")


def _bits(number: int | float) -> int:
    return number.bit_length() if isinstance(number, int) else 64


def _check_bits(bits: int) -> None:
    if bits > _DIGITS_LIMIT_BITS:
        raise TooMuch(f"it would make a number of {bits:,} bits; at most {_DIGITS_LIMIT_BITS:,} are allowed")
