"""Plans on disk: finding, reading and putting them together, and checking what they are given.

Every error names its place, and all of a file's errors come at once. Must not run anything of a plan;
a ``.py`` plan's module is imported, which is its author's own code.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from engine.errors import NotFound, PlanError, Problem, UsageError
from engine.plan.document import Positions, decode, read_yaml
from engine.plan.model import Plan
from engine.plan.names import nearest
from engine.plan.plan_function import PlanFunction
from engine.plan.problems import problems_of
from engine.plan.registry import import_path

SUFFIXES = (".yaml", ".yml", ".json", ".py")
DEPTH_LIMIT = 8
"""Sub-plans inside sub-plans."""
STEPS_LIMIT = 200_000
"""Steps of a plan with all its sub-plans written out."""


def load_plan(path: str | Path) -> Plan:
    """The plan in a file: ``.yaml``, ``.yml``, ``.json``, or ``.py`` with ``:attribute``.

    Raises
    ------
    PlanError
        With every problem and its place.
    NotFound
        There is no such file, or no such plan in it.
    """
    file, _, attribute = str(path).partition(".py:")
    source = Path(f"{file}.py") if attribute else Path(path)
    if source.suffix == ".py":
        return _load_python(source, attribute)
    try:
        raw = source.read_bytes()
    except OSError as error:
        raise NotFound(f"the plan file {source} cannot be read: {error.strerror}") from error
    return read_plan(raw, str(source))


def read_plan(raw: bytes, file: str) -> Plan:
    """The plan of a file's content; ``file`` names it in errors and tells JSON by its suffix."""
    text = decode(raw, file)
    if file.endswith(".json"):
        _check_json(text, file)
    data = read_yaml(text, file)
    if not isinstance(data, dict):
        raise PlanError([Problem("a plan is a mapping with a name and steps", file=file, line=1, column=1)])
    try:
        return Plan.model_validate(data)
    except ValidationError as error:
        positions: Positions = {}
        read_yaml(text, file, positions)
        raise PlanError(problems_of(error, file, positions)) from error
    except RecursionError as error:
        raise PlanError([Problem("nested too deep", file=file)]) from error


def plan_files(paths: Iterable[Path]) -> dict[str, Path]:
    """Plan files in the folders ``paths`` by name; the first folder that has a name wins."""
    found: dict[str, Path] = {}
    for folder in paths:
        if folder.is_dir():
            for file in sorted(folder.iterdir()):
                if file.suffix in SUFFIXES and not file.name.startswith("_"):
                    found.setdefault(file.stem.replace("_", "-"), file)
    return found


def find_plan(name: str, paths: Iterable[Path]) -> Plan:
    """The plan called ``name``: a file in one of the folders, or ``name`` itself if it is a path.

    Raises
    ------
    NotFound
        With the nearest name there is.
    PlanError
        The file was found and does not hold.
    """
    if "/" in name or Path(name).suffix in SUFFIXES or ".py:" in name:
        return load_plan(name)
    files = plan_files(paths)
    file = files.get(name.replace("_", "-"))
    if file is None:
        raise NotFound(f"there is no plan {name!r}{nearest(name, files)}")
    return load_plan(file)


def resolve(plan: Plan, find: Callable[[str], Plan]) -> Plan:
    """``plan`` with every sub-plan it names put in.

    Parameters
    ----------
    find
        Gives the plan of a name; raises ``NotFound``.

    Raises
    ------
    PlanError
        Naming every sub-plan that is unknown, contains itself, lies too deep, or makes the whole too large.
    """
    resolver = _Resolver(find)
    whole, _ = resolver.resolve(plan, (plan.name,), "")
    if resolver.problems:
        raise PlanError(resolver.problems)
    return whole


def check_inputs(plan: Plan, given: Mapping[str, Any]) -> dict[str, Any]:
    """The run's inputs: ``given`` as the plan's types, defaults put in.

    Raises
    ------
    UsageError
        Naming every input that is unknown, missing or unfit.
    """
    wrong = [f"there is no input {name!r}{nearest(name, plan.inputs)}" for name in given if name not in plan.inputs]
    inputs: dict[str, Any] = {}
    for name, declared in plan.inputs.items():
        if name not in given:
            if declared.required:
                wrong.append(f"input {name!r} ({declared.type}) is missing")
            else:
                inputs[name] = declared.default
            continue
        try:
            inputs[name] = declared.parse(given[name])
        except ValidationError as error:
            first = error.errors(include_url=False, include_context=False, include_input=False)[0]
            where = ".".join(str(part) for part in first["loc"] if isinstance(part, int))
            wrong.append(f"input {name!r} is no {declared.type}{' at ' + where if where else ''}: {first['msg']}")
    if wrong:
        raise UsageError(f"plan {plan.name!r}: " + "; ".join(wrong))
    return inputs


def read_inputs(plan: Plan, texts: Mapping[str, str]) -> dict[str, Any]:
    """Inputs given as text, as on a command line: JSON where the type is no string, else the text itself."""
    given: dict[str, Any] = {}
    for name, text in texts.items():
        declared = plan.inputs.get(name)
        given[name] = text
        if declared is not None and declared.type != "string":
            try:
                given[name] = json.loads(text)
            except (ValueError, RecursionError):
                continue  # the check says what is wrong with it
    return given


class _Resolver:
    """Puts sub-plans in, each read once."""

    def __init__(self, find: Callable[[str], Plan]) -> None:
        self.problems: list[Problem] = []
        self._find = find
        self._known: dict[str, tuple[Plan, int]] = {}

    def resolve(self, plan: Plan, above: tuple[str, ...], prefix: str) -> tuple[Plan, int]:
        """The plan with its sub-plans in it, and how many steps it has in all."""
        steps = dict(plan.steps)
        total = 0
        for name, step in plan.steps.items():
            total += 1
            if step.plan is None:
                continue
            where = f"{prefix}steps.{name}.plan"
            found = self._sub_plan(step.plan, above, where)
            if found is not None:
                steps[name] = step.model_copy(update={"plan": found[0]})
                total += found[1] + 1
        if total > STEPS_LIMIT:
            self._wrong(f"with its sub-plans the plan has more than {STEPS_LIMIT:,} steps", prefix)
            total = 0  # one problem is enough: plans above are not blamed for it
        return plan.model_copy(update={"steps": steps}), total

    def _sub_plan(self, wanted: str | Plan, above: tuple[str, ...], where: str) -> tuple[Plan, int] | None:
        if len(above) > DEPTH_LIMIT:
            return self._wrong(f"sub-plans lie more than {DEPTH_LIMIT} deep: {' -> '.join(above)}", where)
        if isinstance(wanted, Plan):
            return self.resolve(wanted, (*above, wanted.name), f"{where}.")
        if wanted in above:
            return self._wrong(f"a plan contains itself: {' -> '.join((*above, wanted))}", where)
        if wanted not in self._known:
            try:
                plan = self._find(wanted)
            except NotFound as error:
                return self._wrong(str(error), where)
            except PlanError as error:
                self.problems.extend(error.problems)
                return None
            self._known[wanted] = self.resolve(plan, (*above, wanted), f"{where}.")
        return self._known[wanted]

    def _wrong(self, message: str, where: str) -> tuple[Plan, int] | None:
        """Note a problem; gives nothing, as what was asked for is not there."""
        if len(self.problems) < 100:
            self.problems.append(Problem(message, where=where.rstrip(".")))
        return None


def _check_json(text: str, file: str) -> None:
    try:
        json.loads(text)
    except json.JSONDecodeError as error:
        raise PlanError(
            [Problem(f"this is no JSON: {error.msg}", file=file, line=error.lineno, column=error.colno)]
        ) from error
    except (RecursionError, ValueError) as error:
        raise PlanError([Problem(f"this is no JSON that can be read: {error}", file=file)]) from error


def _load_python(source: Path, attribute: str) -> Plan:
    try:
        module = import_path(source)
    except UsageError as error:
        raise NotFound(str(error)) from error
    except Exception as error:
        raise PlanError(
            [Problem(f"the plan's module cannot be imported: {type(error).__name__}: {error}", file=str(source))]
        ) from error
    plans = {name: value for name, value in vars(module).items() if isinstance(value, PlanFunction | Plan)}
    own = {name: value for name, value in plans.items() if getattr(value, "__module__", None) == module.__name__}
    if attribute:
        if attribute not in plans:
            raise NotFound(f"{source} has no plan {attribute!r}{nearest(attribute, plans)}")
        found = plans[attribute]
    elif len(own or plans) == 1:
        (found,) = (own or plans).values()
    else:
        raise NotFound(f"{source} holds {len(own)} plans: say which, as in {source}:{min(own, default='name')}")
    return found.plan if isinstance(found, PlanFunction) else found
