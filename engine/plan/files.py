"""Plans on disk: finding and reading them, and checking what they are given.

Every error names its place, and all of a file's errors come at once. Must not run anything of a plan;
a ``.py`` plan's module is imported, which is its author's own code.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from engine.errors import NotFound, PlanError, Problem, UsageError
from engine.plan.document import SIZE_LIMIT_BYTES, decode, gather_json, gather_yaml
from engine.plan.model import Plan
from engine.plan.names import nearest
from engine.plan.pauses import uncollected
from engine.plan.plan_function import PlanFunction
from engine.plan.problems import news, problems_of
from engine.plan.registry import import_path
from engine.plan.salvage import BrokenPlanError, salvaged
from engine.plan.source import Source

SUFFIXES = (".yaml", ".yml", ".json", ".py")


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
        with source.open("rb") as content:
            raw = content.read(SIZE_LIMIT_BYTES + 1)  # one too many tells decode; a device never ends
    except OSError as error:
        raise NotFound(f"the plan file {source} cannot be read: {error.strerror}") from error
    return read_plan(raw, str(source))


@uncollected
def read_plan(raw: bytes, file: str) -> Plan:
    """The plan of a file's content; ``file`` names it in errors and tells JSON by its suffix.

    Raises
    ------
    BrokenPlanError
        A ``PlanError`` with every problem that the file alone shows, and with what holds of the plan.
    """
    text = decode(raw, file)
    data, problems, whole = (gather_json if file.endswith(".json") else gather_yaml)(text, file)
    if not whole:
        raise BrokenPlanError(problems)
    if not isinstance(data, dict):
        problems.append(Problem("a plan is a mapping with a name and steps", file=file, line=1, column=1))
        raise BrokenPlanError(problems)
    source = Source(file, text)
    try:
        plan = Plan.model_validate(data).read_from(source)
    except ValidationError as error:
        rest = None if problems else salvaged(data, error, source)
        raise BrokenPlanError([*problems, *news(problems_of(error, source), problems)], rest) from error
    if problems:
        raise BrokenPlanError(problems)
    return plan


def stored_plan(data: dict[str, Any]) -> Plan:
    """A plan as it was stored with a run.

    What an engine of another version wrote may not hold any more: that is the end of the run, not of who reads it.

    Raises
    ------
    PlanError
        It does not hold.
    """
    try:
        return Plan.model_validate(data)
    except ValidationError as error:
        raise PlanError(problems_of(error, Source())) from error


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
