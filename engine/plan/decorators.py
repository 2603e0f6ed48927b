"""The Python face: ``@task`` makes a function a task type, ``@plan`` makes one a plan.

A task called while a plan is traced notes a step and gives a reference; called anywhere else it just
runs, so that tasks and whole plans can be tried without an engine. Type checkers see the function's
own signature in both cases.
"""

from __future__ import annotations

import asyncio
import inspect
import re
from collections.abc import Awaitable, Callable, Iterable, Mapping
from functools import update_wrapper
from typing import Any, Concatenate, Generic, ParamSpec, Protocol, TypeVar, overload

from pydantic import ValidationError

from engine.errors import UsageError
from engine.plan.binding import Binding, binding_of, make_binding
from engine.plan.care import Caching
from engine.plan.durations import duration_s
from engine.plan.local import local_context
from engine.plan.plan_function import PlanFunction, plan
from engine.plan.ref import Ref
from engine.plan.registry import REGISTRY, Registry
from engine.plan.tasktype import Effects, TaskContext, TaskType
from engine.plan.trace import current_trace

__all__ = ["PlanFunction", "Task", "TaskDecorator", "plan", "task"]

P = ParamSpec("P")
Q = ParamSpec("Q")
R = TypeVar("R")
T = TypeVar("T")

_OPTIONS = frozenset({
    "name", "after", "for_each", "max_items", "max_parallel", "max_failures", "when", "join", "retry", "timeout",
    "on_failure", "queue", "guess", "prefetch", "enough", "vote", "phase", "skill", "effects", "pools", "description",
    "model", "needs", "check", "quality", "importance", "budget", "batch", "cache", "invalidates",
})  # fmt: skip


class Task(Generic[P, R]):
    """A task type with its function's own signature.

    Parameters
    ----------
    task_type
        What it registered.
    chosen
        Step options given with ``options``.
    """

    def __init__(self, task_type: TaskType, chosen: Mapping[str, Any] | None = None) -> None:
        self.task_type = task_type
        self.chosen: Mapping[str, Any] = chosen or {}
        update_wrapper(self, task_type.function, updated=())

    def __repr__(self) -> str:
        return f"<Task {self.task_type.name}>"

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        trace = current_trace()
        if trace is None:
            return self._run(args, kwargs)
        step = {"task": self.task_type.name, "with": self._arguments(args, kwargs)}
        return trace.add(self._step_name(), step, self.chosen)  # type: ignore[return-value]  # the reference stands for it

    # `self` is a callable here, not a task: mypy loses the item's type through `Task[Concatenate[T, Q], R]`.
    def map(self: Callable[Concatenate[T, Q], R], items: Iterable[T], /, *args: Q.args, **kwargs: Q.kwargs) -> list[R]:
        """One node an item, each as the first argument; the list of their results."""
        mapped: Task[..., R] = self  # type: ignore[assignment]  # said above
        return mapped._mapped(items, args, kwargs)

    def _mapped(self, items: Iterable[Any], args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> list[R]:
        trace = current_trace()
        if trace is None:
            return [self._run((item, *args), kwargs) for item in items]
        step = {
            "task": self.task_type.name,
            "for_each": str(items) if isinstance(items, Ref) else list(items),
            "with": self._arguments((Ref(("item",)), *args), kwargs),
        }
        return trace.add(self._step_name(), step, self.chosen)  # type: ignore[return-value]  # the reference stands for it

    def options(self, **options: Any) -> Task[P, R]:
        """The same task with a step's clauses: ``name``, ``retry``, ``timeout``, ``when``, ``after`` and so on."""
        unknown = sorted(options.keys() - _OPTIONS)
        if unknown:
            raise UsageError(f"{self.task_type.name}: a step has no {', '.join(unknown)}; it has {sorted(_OPTIONS)}")
        return Task(self.task_type, {**self.chosen, **options})

    @property
    def name(self) -> str:
        """The task type's name."""
        return self.task_type.name

    def _run(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> R:
        """The function itself; a context is made where none is given."""
        function, context = self.task_type.function, self._binding.context
        given = dict(kwargs)
        if context is not None and not any(isinstance(value, TaskContext) for value in (*args, *kwargs.values())):
            args, given = self._with_context(args, given, context)
        result = function(*args, **given)
        if inspect.iscoroutine(result):
            return asyncio.run(result)  # type: ignore[no-any-return]  # the coroutine's own result
        return result  # type: ignore[no-any-return]  # the function's own result

    def _with_context(
        self, args: tuple[Any, ...], kwargs: dict[str, Any], name: str
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        names = list(inspect.signature(self.task_type.function).parameters)
        place = names.index(name)
        context = local_context(self.task_type.name)
        if place < len(args):
            return (*args[:place], context, *args[place:]), kwargs
        return args, {**kwargs, name: context}

    def _arguments(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> dict[str, Any]:
        binding = self._binding
        names = list(binding.parameters)
        if len(args) > len(names):
            raise UsageError(f"{self.task_type.name} takes {len(names)} arguments, not {len(args)}")
        twice = sorted(set(names[: len(args)]) & kwargs.keys())
        if twice:
            raise UsageError(f"{self.task_type.name}: {', '.join(twice)} is given twice")
        given = {**dict(zip(names, args, strict=False)), **kwargs}
        unknown = sorted(given.keys() - set(names)) if not binding.any_name else []
        missing = sorted(binding.required - given.keys())
        if unknown or missing:
            wrong = [f"unknown argument {name!r}" for name in unknown]
            wrong += [f"argument {name!r} is missing" for name in missing]
            raise UsageError(f"{self.task_type.name}: {'; '.join(wrong)}")
        return given

    @property
    def _binding(self) -> Binding:
        return binding_of(self.task_type)

    def _step_name(self) -> str:
        return self.task_type.name.rsplit(".", 1)[-1].lower()


class TaskDecorator(Protocol):
    """What ``task(…)`` gives: the function's signature without its context, its result awaited."""

    @overload
    def __call__(self, function: Callable[Concatenate[TaskContext, P], Awaitable[R]]) -> Task[P, R]: ...
    @overload
    def __call__(self, function: Callable[Concatenate[TaskContext, P], R]) -> Task[P, R]: ...
    @overload
    def __call__(self, function: Callable[P, Awaitable[R]]) -> Task[P, R]: ...
    @overload
    def __call__(self, function: Callable[P, R]) -> Task[P, R]: ...


def task(
    name: str | None = None,
    *,
    effects: Effects | str = "external",
    queue: str = "io",
    timeout: float | str | None = None,
    prefetch: Callable[..., Any] | None = None,
    many: Callable[..., Any] | None = None,
    cache: Mapping[str, Any] | bool = False,
    invalidates: Iterable[str] = (),
    reads: Iterable[str] | Callable[..., Iterable[str]] = (),
    registry: Registry | None = None,
) -> TaskDecorator:
    """Make a function a task type.

    Parameters
    ----------
    name
        Dotted name; the module's last name and the function's if left out: ``files.read``.
    effects
        ``none``, ``idempotent`` or ``external``: what running it twice does to the world.
    queue
        ``io`` for bodies that wait, ``cpu`` for bodies that compute, or a queue of your own.
    timeout
        Duration that one attempt may take unless the step says otherwise.
    prefetch
        A function that takes some of the arguments, by name, and a context if it wants one, and reads what the
        body will need; the body gets the result, once, from ``context.prefetched()``. It must change nothing
        anywhere, and may run for nothing.
    many
        A function that does the work of several bodies in one invocation, for steps with ``batch``: it takes
        ``calls``, a list with the arguments of each by name, and a context if it wants one, and returns a list with
        each one's result, or the exception that it failed with. What fails is tried again without the others.
    cache
        Keep its results and serve them again, unless a step says otherwise: ``True``, or what a step's ``cache`` may
        say (``ttl``, ``tags``, ``shared``, ``sensitive``). Only for ``effects="none"``. A tag may name arguments:
        ``user:{{ args.user_id }}``.
    invalidates
        Tags of what it changes: kept results with one of them are stale from then on.
    reads
        Names of arguments that are paths of files or folders, or a function that takes some of the arguments, by name,
        and a context if it wants one, and gives such paths: a kept result serves only while these are what they were.
        Where the function raises a ``TaskError``, nothing is kept.

    Raises
    ------
    UsageError
        The signature cannot be filled from a plan, or another task type has that name.
    """

    def decorate(function: Callable[..., Any]) -> Task[Any, Any]:
        full_name = name or _default_name(function)
        binding = make_binding(function, full_name)
        task_type = TaskType(
            name=full_name,
            function=function,
            effects=Effects(effects),
            queue=queue,
            timeout_s=None if timeout is None else duration_s(timeout),
            summary=(inspect.getdoc(function) or "").partition("\n")[0],
            binding=binding,
            prefetch=None if prefetch is None else _prefetch(prefetch, full_name, binding),
            many=None if many is None else _many(many, full_name, effects),
            cache=_caching(cache, full_name, effects),
            invalidates=tuple(invalidates),
            reads=_reads(reads, full_name, binding),
        )
        (registry if registry is not None else REGISTRY).register(task_type)
        return Task(task_type)

    if callable(name):
        raise UsageError("write @task(), with parentheses")
    return decorate


def _caching(said: Mapping[str, Any] | bool, name: str, effects: Effects | str) -> Caching | None:
    """How the results of the task type ``name`` may serve again."""
    if said is False:
        return None
    if Effects(effects) is not Effects.NONE:
        raise UsageError(f"the results of task {name!r} cannot be kept: it has effects")
    try:
        return Caching.model_validate({} if said is True else dict(said))
    except ValidationError as error:
        raise UsageError(f"cache of task {name!r}: {error}") from None


def _reads(
    said: Iterable[str] | Callable[..., Iterable[str]], task: str, binding: Binding
) -> tuple[str, ...] | Callable[..., Iterable[str]]:
    """What names the files that results of the task type ``task`` are made from."""
    if not callable(said):
        return _arguments_of(tuple(said), task, binding)
    _arguments_of(tuple(make_binding(said, f"{task}, reads").parameters), task, binding)
    return said


def _arguments_of(names: tuple[str, ...], task: str, binding: Binding) -> tuple[str, ...]:
    unknown = sorted(set(names) - binding.parameters.keys())
    if unknown and not binding.any_name:
        raise UsageError(f"task {task!r} reads the arguments {', '.join(unknown)}, which it has not")
    return names


def _many(function: Callable[..., Any], name: str, effects: Effects | str) -> Callable[..., Any]:
    if Effects(effects) is Effects.EXTERNAL:
        raise UsageError(f"task {name!r} has external effects: its bodies never share an invocation")
    if set(make_binding(function, f"{name}, many").parameters) != {"calls"}:
        raise UsageError(f"the function for many of task {name!r} takes calls, and a context if it wants one")
    return function


def _prefetch(function: Callable[..., Any], name: str, binding: Binding) -> TaskType:
    """What reads ahead for the task type ``name``, whose body takes what ``binding`` says."""
    own = make_binding(function, f"{name}, prefetch")
    unknown = sorted(own.parameters.keys() - binding.parameters.keys()) if not binding.any_name else []
    if unknown or own.any_name:
        what = f"the arguments {', '.join(unknown)}, which the task has not" if unknown else "arguments of any name"
        raise UsageError(f"the prefetch function of task {name!r} takes {what}")
    return TaskType(name, function, Effects.NONE, "prefetch", binding=own)


def _default_name(function: Callable[..., Any]) -> str:
    module = function.__module__.rsplit(".", 1)[-1]
    function_name = re.sub(r"\W", "_", function.__name__)
    return function_name if module == "__main__" else f"{module}.{function_name}"
