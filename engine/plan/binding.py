"""From plain data to a task's arguments, and from its result back to plain data.

Both ways go through pydantic adapters made once a task type from the function's hints, so that a
body sees what it declared and a plan sees nothing but JSON.
"""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NotRequired, get_type_hints

from pydantic import ConfigDict, PydanticSchemaGenerationError, TypeAdapter, ValidationError
from pydantic.errors import PydanticUserError
from pydantic_core import PydanticSerializationError
from typing_extensions import TypedDict

from engine.errors import Permanent, UsageError
from engine.plan.names import nearest
from engine.plan.references import kind_of
from engine.plan.tasktype import TaskContext, TaskType

_json_text = json.JSONEncoder(allow_nan=False, check_circular=False).encode


@dataclass(frozen=True, slots=True)
class Binding:
    """What was worked out of a function's signature.

    Parameters
    ----------
    arguments, result
        Adapters of the arguments, as one mapping, and of the result.
    parameters
        Names of the arguments a plan may give, with each hint.
    required
        Those without a default.
    context
        Name of the parameter annotated with ``TaskContext``, if there is one.
    any_name
        Whether the function takes arguments of any name.
    """

    arguments: TypeAdapter[dict[str, Any]]
    result: TypeAdapter[Any]
    parameters: Mapping[str, Any]
    required: frozenset[str]
    context: str | None
    any_name: bool


def make_binding(function: Callable[..., Any], name: str) -> Binding:
    """The binding of a task's function.

    Raises
    ------
    UsageError
        The signature cannot be filled from a plan; says which parameter and what to change.
    """
    try:
        hints = get_type_hints(function, include_extras=True)
    except Exception as error:
        raise UsageError(f"the hints of task {name!r} cannot be read: {error}; import what they name") from error
    parameters: dict[str, Any] = {}
    required: set[str] = set()
    context: str | None = None
    any_name = False
    for parameter in inspect.signature(function).parameters.values():
        hint = hints.get(parameter.name, Any)
        if _is_context(hint):
            context = parameter.name
        elif parameter.kind is parameter.VAR_KEYWORD:
            any_name = True
        elif parameter.kind in (parameter.VAR_POSITIONAL, parameter.POSITIONAL_ONLY):
            raise UsageError(f"task {name!r}: {parameter} takes no name, and plans give arguments by name")
        else:
            parameters[parameter.name] = hint
            if parameter.default is parameter.empty:
                required.add(parameter.name)
    try:
        arguments = _arguments_adapter(parameters, required, any_name)
        result = _result_adapter(hints.get("return", Any))
    except (PydanticSchemaGenerationError, PydanticUserError) as error:
        raise UsageError(f"task {name!r} has a hint that plain data cannot fill: {error}") from error
    return Binding(arguments, result, parameters, frozenset(required), context, any_name)


def bind(task_type: TaskType, arguments: dict[str, Any], context: TaskContext) -> dict[str, Any]:
    """Validated keyword arguments for ``task_type.function``.

    Raises
    ------
    Permanent
        Naming each argument that is unknown, missing or unfit.
    """
    binding = binding_of(task_type)
    try:
        bound = binding.arguments.validate_python(arguments)
    except ValidationError as error:
        raise Permanent(f"{task_type.name}: {'; '.join(_reasons(error, binding))}") from error
    if binding.context is not None:
        bound[binding.context] = context
    return bound


def dump(task_type: TaskType, result: Any) -> Any:
    """A result as JSON data, checked against the function's return hint.

    Raises
    ------
    Permanent
        The result is not what the hint says, or is no data.
    """
    adapter = binding_of(task_type).result
    try:
        data = adapter.dump_python(adapter.validate_python(result), mode="json", by_alias=True, warnings=False)
        _json_text(data)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]
        where = ".".join(map(str, first["loc"]))
        place = f" at {where}" if where else ""
        raise Permanent(f"{task_type.name} returned what its hint does not allow{place}: {first['msg']}") from error
    except (PydanticSerializationError, ValueError, TypeError, RecursionError) as error:
        raise Permanent(f"{task_type.name} returned what is no JSON data: {error}") from error
    return data


def binding_of(task_type: TaskType) -> Binding:
    """The binding kept with a task type; made anew where it was built without one."""
    if isinstance(task_type.binding, Binding):
        return task_type.binding
    return make_binding(task_type.function, task_type.name)


def _arguments_adapter(
    parameters: Mapping[str, Any], required: set[str], any_name: bool
) -> TypeAdapter[dict[str, Any]]:
    fields = {name: hint if name in required else NotRequired[hint] for name, hint in parameters.items()}
    # A typed dict, unlike a model, takes any parameter name: `json`, `copy` and `schema` are names too.
    shape = TypedDict("Arguments", fields)  # type: ignore[misc]  # built from the signature
    shape.__pydantic_config__ = ConfigDict(extra="allow" if any_name else "forbid", arbitrary_types_allowed=False)  # type: ignore[attr-defined]  # how pydantic documents it
    adapter: TypeAdapter[Any] = TypeAdapter(shape)
    return adapter


def _result_adapter(hint: Any) -> TypeAdapter[Any]:
    try:
        # pydantic would write a NaN as null; kept as it is, it is refused where JSON is made of it.
        return TypeAdapter(hint, config=ConfigDict(ser_json_inf_nan="constants"))
    except PydanticUserError:
        return TypeAdapter(hint)  # a model or dataclass, which brings a configuration of its own


def _is_context(hint: Any) -> bool:
    return hint is TaskContext or TaskContext in getattr(hint, "__args__", ())


def _reasons(error: ValidationError, binding: Binding) -> list[str]:
    reasons = []
    for problem in error.errors(include_url=False, include_context=False, include_input=True):
        name, *rest = problem["loc"]
        if problem["type"] == "extra_forbidden":
            reasons.append(f"unknown argument {name!r}{nearest(str(name), binding.parameters)}")
        elif problem["type"] == "missing" and not rest:
            reasons.append(f"argument {name!r} is missing")
        else:
            where = ".".join(map(str, [name, *rest]))
            # Its kind only: the value may be a secret.
            found = "" if problem["type"] == "missing" else f"; it is {kind_of(problem['input'])}"
            reasons.append(f"argument {where!r}: {problem['msg']}{found}")
    return reasons
