"""A value that a Python plan will have when it runs: all that exists while it is traced."""

from __future__ import annotations

from typing import Any, NoReturn

from engine.errors import UsageError
from engine.plan.references import Path, path_text


class Condition:
    """A comparison of references, as an expression for ``when``. Join two with ``&`` or ``|``."""

    __slots__ = ("expression",)

    def __init__(self, expression: str) -> None:
        self.expression = expression

    def __str__(self) -> str:
        return self.expression

    def __and__(self, other: Condition) -> Condition:
        return Condition(f"({self}) and ({other})")

    def __or__(self, other: Condition) -> Condition:
        return Condition(f"({self}) or ({other})")

    def __invert__(self) -> Condition:
        return Condition(f"not ({self})")

    def __bool__(self) -> NoReturn:
        raise UsageError(f"'{self}' has no value while the plan is traced; hand it to options(when=…)")


class Ref:
    """Stands for ``steps.NAME.output``, an input, or a part of either.

    Attributes and items lead further in; comparing gives a ``Condition``; put into a string, it
    becomes a template. Whatever needs the value itself raises ``UsageError``.
    """

    __slots__ = ("_path",)
    __hash__ = object.__hash__

    def __init__(self, path: Path) -> None:
        self._path = path

    def __getattr__(self, name: str) -> Ref:
        if name.startswith("_"):
            raise AttributeError(name)
        return Ref((*self._path, name))

    def __getitem__(self, key: str | int) -> Ref:
        if not isinstance(key, str | int):
            raise UsageError(f"'{path_text(self._path)}' takes a name or a whole number in brackets, not {key!r}")
        return Ref((*self._path, key))

    def __str__(self) -> str:
        return f"{{{{ {path_text(self._path)} }}}}"

    def __format__(self, spec: str) -> str:
        return self._no_value(f"formatted with {spec!r}", "use a filter in a template") if spec else str(self)

    def __repr__(self) -> str:
        return f"<Ref {path_text(self._path)}>"

    def __eq__(self, other: object) -> Condition:  # type: ignore[override]  # a condition, as the other comparisons
        return self._compare("==", other)

    def __ne__(self, other: object) -> Condition:  # type: ignore[override]  # a condition, as the other comparisons
        return self._compare("!=", other)

    def __lt__(self, other: object) -> Condition:
        return self._compare("<", other)

    def __le__(self, other: object) -> Condition:
        return self._compare("<=", other)

    def __gt__(self, other: object) -> Condition:
        return self._compare(">", other)

    def __ge__(self, other: object) -> Condition:
        return self._compare(">=", other)

    def __bool__(self) -> NoReturn:
        self._no_value("tested", "use task.options(when=…)")

    def __iter__(self) -> NoReturn:
        self._no_value("iterated", "use task.map(items)")

    def __len__(self) -> NoReturn:
        self._no_value("counted", "let a task count it, or write len(…) in options(when=…)")

    def __contains__(self, item: object) -> NoReturn:
        self._no_value("searched", "use task.options(when=\"'x' in …\")")

    def __call__(self, *_args: object, **_kwargs: object) -> NoReturn:
        self._no_value("called", "call a task with it instead")

    def _compare(self, operator: str, other: object) -> Condition:
        right = path_text(other._path) if isinstance(other, Ref) else repr(other)
        return Condition(f"{path_text(self._path)} {operator} {right}")

    def _no_value(self, verb: str, instead: str) -> NoReturn:
        raise UsageError(
            f"'{path_text(self._path)}' has no value while the plan is traced and cannot be {verb}; {instead}"
        )


def path_of(ref: Ref) -> Path:
    """The path a reference stands for."""
    return ref._path


def untraced(value: Any) -> Any:
    """``value`` with every reference in it written as a template."""
    if isinstance(value, Ref):
        return str(value)
    if isinstance(value, Condition):
        raise UsageError(f"'{value}' is a condition: it can only be handed to options(when=…)")
    if isinstance(value, dict):
        return {key: untraced(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [untraced(entry) for entry in value]
    return value
