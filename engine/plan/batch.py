"""A plan over many items: the plan that a batch job runs, made from the one an author wrote for one item.

A plan of one plain step becomes a fan-out of that step; any other becomes a fan-out of the plan
itself, as a sub-plan. The items are the batch's one input.
"""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from engine.errors import UsageError
from engine.plan.files import check_inputs
from engine.plan.model import Input, Plan, Step

ITEMS = "items"
"""Name of the batch's input."""
_WRONG_SHOWN = 20
_TEMPLATE = re.compile(r"\{\{.*?\}\}|\{%.*?%\}", re.DOTALL)
_NOT_OF_BATCHES = {"goal": None, "impossible": None, "stop_when_impossible": None}  # said of one item's steps
_INPUTS = re.compile(r"(?<![\w.])inputs\b")


def batch_plan(plan: Plan, max_failures: int | None = None) -> Plan:
    """The plan that runs ``plan`` for each of the input ``items``.

    Parameters
    ----------
    plan
        As written for one item: each item is what ``inputs`` is in it.
    max_failures
        Failed items after which the batch is given up. Up to them, failures are tolerated and the
        run is marked partial; ``None`` goes on to the end, and the run fails if an item did.
    """
    (name, step), *more = plan.steps.items()
    if more or step.plan is not None or step.for_each is not None or plan.ends_early:
        name, step = "each", Step(plan=plan, with_={key: f"{{{{ item.{key} }}}}" for key in plan.inputs})
    else:
        step = step.model_copy(update={"with_": _of_item(step.with_), "when": _of_item_expression(step.when)})
    tolerated = {} if max_failures is None else {"max_failures": max_failures, "on_failure": "continue"}
    fanned = step.model_copy(update={"for_each": "{{ inputs.items }}", **tolerated})
    items = Input(type="list", required=True, description="What the plan is run for, one by one.")
    return plan.model_copy(
        update={"inputs": {ITEMS: items}, "steps": {name: fanned}, "outputs": None, **_NOT_OF_BATCHES}
    )


def read_items(file: Path, plan: Plan, common: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """The checked inputs of each line of a ``.jsonl`` file, or row of a ``.csv`` one, in order.

    Holds one line at a time. ``common`` are inputs that every item is given.

    Raises
    ------
    UsageError
        Naming the first lines that are wrong, and why; nothing of the file is to be used then.
    """
    wrong: list[str] = []
    count = 0
    for place, given in _rows(file, plan):
        count += 1
        if isinstance(given, str):
            wrong.append(f"{file}:{place}: {given}")
        else:
            try:
                checked = check_inputs(plan, {**common, **given})
            except UsageError as error:
                wrong.append(f"{file}:{place}: {error}")
            else:
                if not wrong:
                    yield checked
        if len(wrong) >= _WRONG_SHOWN:
            break
    if wrong:
        raise UsageError("\n".join(wrong))
    if not count:
        raise UsageError(f"{file} has no items")


def _rows(file: Path, plan: Plan) -> Iterator[tuple[int, dict[str, Any] | str]]:
    """Line number and inputs of each item, or what is wrong with it."""
    try:
        with file.open(encoding="utf-8", newline="") as lines:
            yield from (_csv_rows(lines, plan) if file.suffix == ".csv" else _json_rows(lines))
    except OSError as error:
        raise UsageError(f"the items file {file} cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise UsageError(f"the items file {file} is not UTF-8: {error.reason} at byte {error.start}") from error


def _json_rows(lines: Iterable[str]) -> Iterator[tuple[int, dict[str, Any] | str]]:
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as error:
            yield number, f"not JSON: {error}"
        else:
            yield number, row if isinstance(row, dict) else "an item is an object whose keys are the plan's inputs"


def _csv_rows(lines: Iterable[str], plan: Plan) -> Iterator[tuple[int, dict[str, Any] | str]]:
    reader = csv.DictReader(lines, strict=True)
    try:
        for row in reader:
            if None in row or None in row.values():
                yield reader.line_num, f"a row has {len(reader.fieldnames or ())} fields, as the first line says"
            else:
                yield reader.line_num, _typed(plan, row)
    except csv.Error as error:
        yield reader.line_num, f"not CSV: {error}"


def _typed(plan: Plan, row: Mapping[str, str]) -> dict[str, Any]:
    """Cells as the plan's types: JSON where the input is no string; the check says what is wrong with the rest."""
    given: dict[str, Any] = dict(row)
    for name, text in row.items():
        declared = plan.inputs.get(name)
        if declared is not None and declared.type != "string":
            with suppress(ValueError, RecursionError):
                given[name] = json.loads(text)
    return given


def _of_item(tree: Any) -> Any:
    """``tree`` with ``inputs`` in its templates turned into ``item``."""
    if isinstance(tree, str):
        return _TEMPLATE.sub(lambda found: _INPUTS.sub("item", found[0]), tree)
    if isinstance(tree, Mapping):
        return {key: _of_item(leaf) for key, leaf in tree.items()}
    if isinstance(tree, list):
        return [_of_item(leaf) for leaf in tree]
    return tree


def _of_item_expression(expression: str | None) -> str | None:
    return None if expression is None else _INPUTS.sub("item", expression)
