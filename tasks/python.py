"""python.call: run a function of an allowed module with plain data."""

from __future__ import annotations

import asyncio
import importlib
import inspect
from collections.abc import Callable
from typing import Any

from engine.errors import Permanent
from engine.plan.decorators import task
from engine.plan.tasktype import TaskContext
from tasks.roots import settings_of


@task("python.call", effects="external", queue="cpu")
def call(context: TaskContext, function: str, arguments: dict[str, Any] | None = None) -> Any:
    """Call ``module:function`` with keyword arguments; what it returns must be plain data.

    For a function that already exists. A function written for plans is better off as a task type of
    its own, with typed arguments and its effects declared.

    Parameters
    ----------
    function
        As in ``shop.prices:total``. Its module, and the module it was defined in, must be allowed by the
        setting ``python_call_modules``. Sync or async.
    arguments
        Keyword arguments; ``None`` means none.

    Raises
    ------
    Permanent
        If the module is not allowed or cannot be imported, it has no such function, or the arguments do
        not fit. What the function itself raises passes through as it is.

    Examples
    --------
    ::

        total:
          task: python.call
          with: {function: "shop.prices:total", arguments: {basket: "{{ inputs.basket }}"}}
    """
    target = _resolved(function, settings_of(context).python_call_modules)
    given = arguments or {}
    try:
        inspect.signature(target).bind(**given)
    except TypeError as error:
        raise Permanent(f"{function} cannot be called so: {error}") from error
    except ValueError:
        pass  # a function in C that tells nothing of its arguments
    context.check_cancelled()
    result = target(**given)
    return asyncio.run(result) if inspect.iscoroutine(result) else result


def _resolved(function: str, allowed: tuple[str, ...]) -> Callable[..., Any]:
    module_name, colon, name = function.partition(":")
    if not colon or not name.isidentifier() or not all(part.isidentifier() for part in module_name.split(".")):
        raise Permanent(f"{function!r} is not of the form module:function, such as shop.prices:total")
    _check_allowed(function, module_name, allowed)
    if name.startswith("_"):
        raise Permanent(f"{function!r} is private to its module")
    try:
        module = importlib.import_module(module_name)
    except Exception as error:
        raise Permanent(f"{module_name} cannot be imported: {type(error).__name__}: {error}") from error
    target = getattr(module, name, None)
    if target is None or inspect.ismodule(target) or not callable(target):
        raise Permanent(f"{module_name} has no function {name!r}")
    # Allowing a module must not allow whatever it imported: `from os import system` defines nothing.
    home = getattr(target, "__module__", None)
    _check_allowed(function, home if isinstance(home, str) else "builtins", allowed)
    return target  # type: ignore[no-any-return]  # callable was checked, its type is unknown


def _check_allowed(function: str, module: str, allowed: tuple[str, ...]) -> None:
    if not any(module == prefix or module.startswith(prefix + ".") for prefix in allowed):
        named = ", ".join(allowed) or "none"
        raise Permanent(
            f"python.call may not call {function!r}: the setting python_call_modules does not allow the module "
            f"{module!r} (allowed: {named})"
        )
