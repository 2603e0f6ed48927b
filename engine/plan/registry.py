"""The task types that are known, and how a user's own modules are found.

The engine never imports a task library by name: settings say which modules to load, and loading them
registers what they decorate. A module given as a file gets a name of its own in ``sys.modules``, so
that a user's folder called ``tasks`` never meets ours.
"""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import pkgutil
import sys
from collections.abc import Iterable
from pathlib import Path
from types import ModuleType

from engine.errors import NotFound, UsageError
from engine.plan.code import combined_hash
from engine.plan.names import nearest
from engine.plan.tasktype import TaskType

_USER_PACKAGE = "flywheel_user_"
_ENGINE = "engine."


class Registry:
    """Task types by name."""

    def __init__(self) -> None:
        self._types: dict[str, TaskType] = {}

    def register(self, task_type: TaskType) -> None:
        """Add a task type. The same function again, as after a reload, replaces itself.

        Raises
        ------
        UsageError
            Another function has that name.
        """
        known = self._types.get(task_type.name)
        if known is not None and _home(known) != _home(task_type):
            raise UsageError(
                f"two task types are called {task_type.name!r}: {_home(known)} and {_home(task_type)}; rename one"
            )
        self._types[task_type.name] = task_type

    def get(self, name: str) -> TaskType:
        """The task type of that name.

        Raises
        ------
        NotFound
            With the nearest known name.
        """
        try:
            return self._types[name]
        except KeyError:
            raise NotFound(f"there is no task type {name!r}{nearest(name, self._types)}") from None

    def names(self) -> tuple[str, ...]:
        """All names, sorted."""
        return tuple(sorted(self._types))

    def code_hashes(self, names: Iterable[str]) -> dict[str, str]:
        """The hash of the code of each task type of ``names`` that is known; empty for the engine's own."""
        known = {name: self._types[name] for name in names if name in self._types}
        return {name: "" if _home(each).startswith(_ENGINE) else each.code_hash for name, each in known.items()}

    def code_digest(self) -> str:
        """One hash over the code of all of them: processes that run the same code have the same."""
        return combined_hash(self.code_hashes(self._types))

    def __contains__(self, name: object) -> bool:
        return name in self._types


REGISTRY = Registry()
"""Where ``@task`` registers unless told otherwise."""


def load_task_modules(modules: Iterable[str]) -> Registry:
    """Import modules for what they register, packages with all their submodules.

    Parameters
    ----------
    modules
        Dotted names (``tasks``, ``acme.jobs``) or paths (``./tasks``, ``jobs/mail.py``).

    Returns
    -------
    Registry
        The default registry, with the built-in task types in it.

    Raises
    ------
    UsageError
        Naming the module that cannot be found or imported, and why.
    """
    importlib.import_module("engine.plan.builtin")
    for name in modules:
        try:
            module = import_path(Path(name)) if _is_path(name) else importlib.import_module(name)
            for submodule in pkgutil.walk_packages(getattr(module, "__path__", ()), f"{module.__name__}."):
                importlib.import_module(submodule.name)
        except UsageError:
            raise
        except Exception as error:
            raise UsageError(f"the task module {name!r} cannot be imported: {type(error).__name__}: {error}") from error
    return REGISTRY


def import_path(path: Path) -> ModuleType:
    """Import a ``.py`` file, or a folder as a package, under a name nobody else has."""
    path = path.resolve()
    if path.is_dir():
        return _folder_package(path)
    if path.suffix != ".py" or not path.is_file():
        raise UsageError(f"{path} is neither a Python file nor a folder of them")
    package = _folder_package(path.parent, run_init=False)
    return importlib.import_module(f"{package.__name__}.{path.stem}")


def _folder_package(folder: Path, *, run_init: bool = True) -> ModuleType:
    name = _USER_PACKAGE + hashlib.sha256(str(folder).encode()).hexdigest()[:12]
    if name not in sys.modules:
        package = ModuleType(name, f"Modules of {folder}")
        package.__path__ = [str(folder)]
        sys.modules[name] = package
    init = folder / "__init__.py"
    if run_init and init.is_file() and sys.modules[name].__spec__ is None:
        _execute_init(name, init)
    return sys.modules[name]


def _execute_init(name: str, init: Path) -> None:
    spec = importlib.util.spec_from_file_location(name, init, submodule_search_locations=[str(init.parent)])
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    before = sys.modules[name]
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        sys.modules[name] = before
        raise


def _is_path(name: str) -> bool:
    return name.endswith(".py") or "/" in name or "\\" in name or name.startswith(".")


def _home(task_type: TaskType) -> str:
    return f"{task_type.function.__module__}.{task_type.function.__qualname__}"
