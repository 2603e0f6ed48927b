"""The Python face: tracing, references, binding, and one version with YAML."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from pathlib import Path

import pytest
from pydantic import BaseModel

from engine.errors import NotFound, Permanent, UsageError
from engine.plan.binding import bind, dump
from engine.plan.decorators import plan, task
from engine.plan.expand import expand
from engine.plan.files import load_plan, read_plan
from engine.plan.local import local_context
from engine.plan.model import plan_hash
from engine.plan.registry import Registry, load_task_modules
from engine.plan.tasktype import TaskContext

LOCAL = Registry()


class Doc(BaseModel):
    path: str
    size: int = 0


@dataclass
class Scan:
    files: list[str]


@task("demo.scan", effects="none", registry=LOCAL)
def scan(root: str, limit: int = 10) -> Scan:
    """Files below a folder."""
    return Scan([f"{root}/{number}" for number in range(limit)])


@task("demo.read", effects="none", registry=LOCAL)
def read(context: TaskContext, path: str, encoding: str = "utf-8") -> Doc:
    context.log.info("reading", path=path)
    return Doc(path=path, size=len(path))


@task("demo.total", effects="none", registry=LOCAL)
async def total(docs: list[Doc], title: str) -> int:
    await asyncio.sleep(0)
    return sum(doc.size for doc in docs)


@plan("audit", tags=["x"])
def audit(root: str, limit: int = 2) -> dict[str, object]:
    found = scan(root, limit=limit)
    docs = read.options(max_parallel=4, retry={"attempts": 2}, timeout="1m").map(found.files, encoding="ascii")
    summed = total.options(when=found.files != [])(docs, title=f"Below {root}")
    return {"total": summed, "files": found.files}


YAML = """
name: audit
tags: [x]
inputs: {root: {type: string}, limit: {type: integer, default: 2}}
outputs: {files: "{{ steps.scan.output.files }}", total: "{{ steps.total.output }}"}
steps:
  total:
    task: demo.total
    when: steps.scan.output.files != []
    with: {docs: "{{ steps.read.output }}", title: "Below {{ inputs.root }}"}
  read:
    task: demo.read
    description: reads
    for_each: "{{ steps.scan.output.files }}"
    max_parallel: 4
    retry: {attempts: 2}
    timeout: 60
    with: {path: "{{ item }}", encoding: ascii}
  scan: {task: demo.scan, with: {root: "{{ inputs.root }}", limit: "{{ inputs.limit }}"}}
"""


def test_a_python_plan_and_a_yaml_plan_of_the_same_content_have_one_version() -> None:
    assert plan_hash(audit.plan) == plan_hash(read_plan(YAML.encode(), "audit.yaml"))


def test_outside_a_trace_tasks_and_plans_just_run() -> None:
    assert read("abc").size == 3
    result = audit("r", limit=3)
    assert result == {"total": 9, "files": ["r/0", "r/1", "r/2"]}


def test_a_plan_called_in_a_plan_becomes_a_step() -> None:
    @plan("outer")
    def outer() -> object:
        return audit.options(name="inner")("x")["total"]

    assert outer.plan.steps["inner"].plan == audit.plan
    assert outer.plan.outputs == "{{ steps.inner.output.total }}"


@pytest.mark.parametrize(
    ("misuse", "told"),
    [
        (lambda ref: bool(ref), r"steps.scan.output.*options\(when"),
        (lambda ref: list(ref), r"task.map\(items\)"),
        (lambda ref: len(ref), "cannot be counted"),
        (lambda ref: "x" in ref, "cannot be searched"),
        (lambda ref: ref.upper(), "cannot be called"),
        (lambda ref: ref.size > 3 and 1, r"options\(when"),
    ],
)
def test_using_a_reference_as_a_value_says_what_to_use_instead(misuse: object, told: str) -> None:
    @plan("wrong")
    def wrong() -> object:
        return misuse(scan("x"))  # type: ignore[operator]

    with pytest.raises(UsageError, match=told):
        _ = wrong.plan


def test_a_wrong_argument_is_told_while_tracing() -> None:
    @plan("wrong")
    def wrong() -> object:
        return scan(rot="x")  # type: ignore[call-arg]

    with pytest.raises(UsageError, match="unknown argument 'rot'; argument 'root' is missing"):
        _ = wrong.plan


def test_arguments_are_validated_and_the_context_is_put_in() -> None:
    context = local_context("n")
    bound = bind(total.task_type, {"docs": [{"path": "a", "size": "3"}], "title": "t"}, context)
    assert bound == {"docs": [Doc(path="a", size=3)], "title": "t"}
    assert bind(read.task_type, {"path": "a"}, context) == {"path": "a", "context": context}
    with pytest.raises(Permanent) as caught:
        bind(total.task_type, {"dosc": [], "title": ["x"]}, context)
    assert "unknown argument 'dosc'; did you mean 'docs'?" in str(caught.value)
    assert "argument 'docs' is missing" in str(caught.value)
    assert "argument 'title'" in str(caught.value)


def test_an_unfit_argument_is_named_with_its_kind_and_without_its_value() -> None:
    with pytest.raises(Permanent) as caught:
        bind(total.task_type, {"docs": "s3cret", "title": "t"}, local_context("n"))
    assert "argument 'docs': " in str(caught.value)
    assert str(caught.value).endswith("; it is text")
    assert "s3cret" not in str(caught.value)


def test_results_become_data_or_are_refused() -> None:
    assert dump(read.task_type, Doc(path="a", size=1)) == {"path": "a", "size": 1}
    with pytest.raises(Permanent, match="returned what its hint does not allow"):
        dump(total.task_type, "many")

    @task("demo.anything", registry=Registry())
    def anything():  # type: ignore[no-untyped-def]
        return None

    assert dump(anything.task_type, Path("/x")) == "/x"
    for bad in (object(), float("nan")):
        with pytest.raises(Permanent, match="no JSON data"):
            dump(anything.task_type, bad)


def test_two_functions_of_one_name_are_refused_and_a_near_name_is_told() -> None:
    with pytest.raises(UsageError, match=r"two task types are called 'demo\.scan'"):
        task("demo.scan", registry=LOCAL)(lambda: None)
    with pytest.raises(NotFound, match=r"did you mean 'demo\.scan'"):
        LOCAL.get("demo.scna")


def test_a_users_folder_called_tasks_never_meets_ours(tmp_path: Path) -> None:
    folder = tmp_path / "tasks"
    folder.mkdir()
    (folder / "mine_only.py").write_text(
        "from engine.authoring import task\nfrom .shared import WORD\n\n@task(effects='none')\n"
        "def speak() -> str:\n    return WORD\n"
    )
    (folder / "shared.py").write_text("WORD = 'mine'\n")
    registry = load_task_modules(["tasks", str(folder)])
    assert registry.get("mine_only.speak").function() == "mine"
    assert "plan.inputs" in registry
    assert "files.read" in registry
    with pytest.raises(UsageError, match="no_such_module"):
        load_task_modules(["no_such_module"])


def test_a_python_plan_is_loaded_from_its_file(tmp_path: Path) -> None:
    file = tmp_path / "nightly.py"
    file.write_text(
        "from engine.authoring import plan, task\n\n"
        "@task('nightly.hello')\ndef hello(who: str) -> str:\n    return who\n\n"
        "@plan()\ndef nightly_run(who: str = 'x') -> str:\n    return hello(who)\n"
    )
    assert load_plan(file).name == "nightly-run"
    assert load_plan(f"{file}:nightly_run").steps["hello"].task == "nightly.hello"
    with pytest.raises(NotFound, match="has no plan 'nightly'"):
        load_plan(f"{file}:nightly")


@plan("tripled")
def tripled(number: int, previous: int = 1, round: int = 1) -> int:  # noqa: A002 - what loops call it
    return previous * number * round


def test_loops_and_mapped_plans_run_without_an_engine() -> None:
    assert tripled.map([1, 2], previous=5) == [5, 10]
    three = tripled.loop(until="output > 40", max_rounds=9)(3)
    assert (three.output, three.rounds, three.stopped_by) == (162, 3, "until")
    bounded = tripled.loop(until="False", max_rounds=2)(number=3)
    assert (bounded.output, bounded.rounds, bounded.stopped_by) == (18, 2, "max_rounds")


def test_a_plan_that_a_step_made_is_for_an_engine_and_comes_from_a_step() -> None:
    with pytest.raises(UsageError, match="only an engine"):
        expand(["demo.scan"])({"steps": {}})

    @plan("made")
    def made() -> None:
        expand(["demo.scan"])({"steps": {}})

    with pytest.raises(UsageError, match="output of an earlier step"):
        made.plan  # noqa: B018 - tracing is what fails
