"""The filters and tests that templates may use, each paid for before it works.

Every filter takes the rendering's context first, from which it gets the budget; that also keeps
Jinja from running it at compile time. Nothing here may call back into user data.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from jinja2 import filters as jinja
from jinja2 import pass_context
from jinja2 import tests as jinja_tests
from jinja2.runtime import Context, Undefined

from engine.plan.limits import Budget, TooMuch, check_length

BUDGET = "_budget"
"""Name in the context under which a rendering keeps its budget; templates cannot spell it."""


def budget_of(context: Context) -> Budget:
    """The budget of this rendering."""
    budget: Budget = context.parent[BUDGET]
    return budget


def text_of(value: Any) -> str:
    """A value as it is put into a text: texts as they are, numbers in digits, the rest as JSON."""
    if isinstance(value, str):
        return value
    if isinstance(value, Undefined):
        return str(value)  # raises, naming what is missing
    return json.dumps(_plain(value), ensure_ascii=False)


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping) and not isinstance(value, dict):
        return dict(value)
    return value


@pass_context
def to_text(context: Context, value: Any) -> str:
    """What ``{{ … }}`` puts out."""
    budget_of(context).pay_for(value)
    return text_of(value)


@pass_context
def paid(context: Context, value: Any) -> Any:
    """``value`` itself, once comparing it is paid for."""
    if not isinstance(value, Undefined):
        budget_of(context).pay_for(value)
    return value


@pass_context
def counted(context: Context, values: Any, units: int) -> Iterable[Any]:
    """``values`` for a loop whose body costs ``units`` a turn."""
    if isinstance(values, str | int | float | None):
        raise TypeError(f"a loop needs a list, not {text_of(values)[:40]!r}")
    return budget_of(context).each(values, units)


@pass_context
def concatenate(context: Context, parts: list[Any]) -> str:
    """``a ~ b``."""
    budget = budget_of(context)
    budget.pay_for(parts)
    texts = [text_of(part) for part in parts]
    check_length(sum(map(len, texts)))
    return "".join(texts)


def _charged(function: Callable[..., Any], *, times: int = 1) -> Callable[..., Any]:
    """A Jinja filter that takes neither environment nor context, paid for by the size of its input."""

    @pass_context
    def charged(context: Context, value: Any, *args: Any, **kwargs: Any) -> Any:
        budget = budget_of(context)
        for _ in range(times):
            budget.pay_for(value, *args, *kwargs.values())
        result = function(value, *args, **kwargs)
        return list(result) if hasattr(result, "__next__") else result

    return charged


def _of_environment(function: Callable[..., Any], *, times: int = 1) -> Callable[..., Any]:
    """The same for a Jinja filter that takes the environment."""

    @pass_context
    def charged(context: Context, value: Any, *args: Any, **kwargs: Any) -> Any:
        budget = budget_of(context)
        for _ in range(times):
            budget.pay_for(value, *args, *kwargs.values())
        result = function(context.environment, value, *args, **kwargs)
        return list(result) if hasattr(result, "__next__") else result

    return charged


def _of_context(function: Callable[..., Any]) -> Callable[..., Any]:
    """The same for map, select and reject: each element pays for the arguments again."""

    @pass_context
    def charged(context: Context, value: Any, *args: Any, **kwargs: Any) -> Any:
        budget = budget_of(context)
        budget.pay_for(value)
        before = budget.left
        budget.pay_for(*args, *kwargs.values())
        budget.spend((before - budget.left) * len(value))
        return list(function(context, value, *args, **kwargs))

    return charged


@pass_context
def _join(context: Context, value: Iterable[Any], separator: str = "", attribute: str | None = None) -> str:
    budget = budget_of(context)
    budget.pay_for(value)
    if attribute is not None:
        value = [context.environment.getitem(element, attribute) for element in value]
    texts = [text_of(element) for element in value]
    check_length(sum(map(len, texts)) + len(separator) * len(texts))
    return separator.join(texts)


@pass_context
def _replace(context: Context, value: str, old: str, new: str, count: int = -1) -> str:
    budget_of(context).pay_for(value, value)
    found = value.count(old) if count < 0 else min(count, value.count(old))
    check_length(len(value) + found * (len(new) - len(old)))
    return value.replace(old, new, count)


@pass_context
def _indent(context: Context, value: str, width: int = 4, first: bool = False, blank: bool = False) -> str:
    budget_of(context).pay_for(value)
    check_length(len(value) + (value.count("\n") + 1) * width)
    return str(jinja.do_indent(value, width, first, blank))


@pass_context
def _round(_context: Context, value: float, precision: int = 0, method: str = "common") -> float:
    if not -15 <= precision <= 15:
        raise TooMuch("round takes a precision from -15 to 15")
    return float(jinja.do_round(value, precision, method))  # type: ignore[arg-type]  # checked by Jinja itself


@pass_context
def _sum(context: Context, value: Iterable[Any], attribute: str | None = None, start: float = 0) -> float:
    budget_of(context).pay_for(value)
    if attribute is not None:
        value = [context.environment.getitem(element, attribute) for element in value]
    numbers = list(value)
    for number in numbers:
        if not isinstance(number, int | float):
            raise TypeError(f"sum needs numbers, not {text_of(number)[:40]!r}")
    return sum(numbers, start)


@pass_context
def _tojson(context: Context, value: Any, indent: int | None = None) -> str:
    budget = budget_of(context)
    budget.pay_for(value)
    if indent is not None:
        if not 0 <= indent <= 8:
            raise TooMuch("tojson takes an indent from 0 to 8")
        budget.pay_for(*[value] * indent)
    text = json.dumps(_plain(value), ensure_ascii=False, sort_keys=True, indent=indent)
    check_length(len(text))
    return text


@pass_context
def _split(context: Context, value: str, separator: str | None = None) -> list[str]:
    budget_of(context).spend(1 + len(value))
    return value.split(separator)


@pass_context
def _default(_context: Context, value: Any, default: Any = "", boolean: bool = False) -> Any:
    if isinstance(value, Undefined) or (boolean and not value):
        return default
    return value


@pass_context
def _length(_context: Context, value: Any) -> int:
    return len(value)


@pass_context
def _unique(context: Context, value: Iterable[Any]) -> list[Any]:
    budget = budget_of(context)
    budget.pay_for(value, value)
    seen = {json.dumps(element, sort_keys=True): element for element in reversed(list(value))}
    return list(reversed(seen.values()))


FILTERS: dict[str, Callable[..., Any]] = {
    "abs": _charged(abs),
    "capitalize": _charged(jinja.do_capitalize),
    "default": _default,
    "d": _default,
    "dictsort": _charged(jinja.do_dictsort, times=4),
    "first": _of_environment(jinja.do_first),
    "float": _charged(jinja.do_float),
    "indent": _indent,
    "int": _charged(jinja.do_int),
    "items": _charged(jinja.do_items),
    "join": _join,
    "last": _of_environment(jinja.do_last),
    "length": _length,
    "count": _length,
    "list": _charged(list),
    "lower": _charged(jinja.do_lower),
    "map": _of_context(jinja.sync_do_map),
    "max": _of_environment(jinja.do_max, times=2),
    "min": _of_environment(jinja.do_min, times=2),
    "reject": _of_context(jinja.sync_do_reject),
    "rejectattr": _of_context(jinja.sync_do_rejectattr),
    "replace": _replace,
    "reverse": _charged(jinja.do_reverse),
    "round": _round,
    "select": _of_context(jinja.sync_do_select),
    "selectattr": _of_context(jinja.sync_do_selectattr),
    "sort": _of_environment(jinja.do_sort, times=4),
    "split": _split,
    "string": to_text,
    "sum": _sum,
    "title": _charged(jinja.do_title),
    "tojson": _tojson,
    "trim": _charged(jinja.do_trim),
    "truncate": _of_environment(jinja.do_truncate),
    "unique": _unique,
    "upper": _charged(jinja.do_upper),
}

_TEST_NAMES = (
    "defined undefined none boolean true false integer float number string mapping sequence iterable "
    "odd even divisibleby lower upper in == eq equalto != ne > gt greaterthan >= ge < lt lessthan <= le"
)
_JINJA_TESTS: dict[str, Any] = dict(jinja_tests.TESTS)
TESTS: dict[str, Callable[..., Any]] = {name: _JINJA_TESTS[name] for name in _TEST_NAMES.split()}

OWN_FILTERS: dict[str, Callable[..., Any]] = {"_paid": paid, "_counted": counted, "_concatenate": concatenate}
"""Put in by ``engine.plan.sandbox`` itself; templates cannot spell them."""
