"""docs/plans.md has every key of a plan, each with an example that compiles; so does the gallery."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from pydantic import BaseModel

from engine.dag.compile import compile_plan
from engine.dag.whole import whole_plan
from engine.errors import NotFound
from engine.plan.care import Batch, Budget, Caching, Limits, Needs
from engine.plan.clauses import AtLeast, FallBack, Retry, Tolerate, Until
from engine.plan.files import load_plan, read_plan
from engine.plan.model import Input, Loop, Plan, Step, plan_data, plan_hash
from engine.plan.registry import load_task_modules
from engine.plan.stopping import Gains, Impossible, Vote

DOCS = Path(__file__).parents[3] / "docs"
PAGE = (DOCS / "plans.md").read_text("utf-8")
SUB_PLANS = (DOCS / "sub-plans.md").read_text("utf-8")
GALLERY = (DOCS / "gallery.md").read_text("utf-8")
REGISTRY = load_task_modules(["tasks"])
BLOCK = re.compile(r"^```yaml\n(.*?)^```", re.MULTILINE | re.DOTALL)


def section_of(position: int) -> str:
    return re.findall(r"^#+ (.*)$", PAGE[:position], re.MULTILINE)[-1]


EXAMPLES = [pytest.param(match[1], id=section_of(match.start())) for match in BLOCK.finditer(PAGE)]
PLANS = BLOCK.findall(GALLERY)


def whole(text: str) -> Plan:
    """The plan of an example, with the name or the steps that it leaves out."""
    if not re.search(r"^name:", text, re.MULTILINE):
        text = "name: example\n" + text
    if not re.search(r"^steps:", text, re.MULTILINE):
        text += "steps: {find: {task: files.find}}\n"
    return compiled(text)


def compiled(text: str) -> Plan:
    def nowhere(name: str) -> Plan:
        raise NotFound(name)

    return whole_plan(lambda: read_plan(text.encode(), "example.yaml"), nowhere, REGISTRY)[0]


@pytest.mark.parametrize("text", EXAMPLES)
def test_every_example_compiles(text: str) -> None:
    whole(text)


@pytest.mark.parametrize("model", [Plan, Step])
def test_every_key_has_a_section_whose_example_uses_it(model: type[BaseModel]) -> None:
    part = PAGE.partition("## Keys of a step")[0 if model is Plan else 2]
    for name, field in model.model_fields.items():
        key = field.alias or name
        section = re.search(rf"^### `{key}`.*?(?=^##|\Z)", part, re.MULTILINE | re.DOTALL)
        assert section is not None, key
        example = BLOCK.search(section[0])
        assert example is not None and re.search(rf"\b{key}:", example[1]), key


CLAUSES = [
    Input, Retry, AtLeast, Tolerate, Until, FallBack, Loop, Gains, Vote, Impossible,
    Needs, Limits, Budget, Batch, Caching,
]  # fmt: skip


@pytest.mark.parametrize("model", CLAUSES)
def test_every_key_inside_is_mentioned(model: type[BaseModel]) -> None:
    for name in model.model_fields:
        assert re.search(rf"\b{name}\b", PAGE), name


def test_the_example_in_python_is_a_plan(tmp_path: Path) -> None:
    (text,) = re.findall(r"^```python\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
    file = tmp_path / "jobs.py"
    file.write_text(text)
    plan = load_plan(f"{file}:word_count")
    assert [step.path for step in compile_plan(plan).steps] == ["count", "total"]


@pytest.fixture(scope="module")
def jobs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The Python of docs/sub-plans.md as one file, read once: its tasks register themselves."""
    file = tmp_path_factory.mktemp("page") / "jobs.py"
    file.write_text("".join(re.findall(r"^```python\n(.*?)^```", SUB_PLANS, re.MULTILINE | re.DOTALL)))
    return file


@pytest.mark.parametrize("name", ["mapped", "looped", "expanded"])
def test_python_plans_that_start_runs_have_the_versions_of_their_yaml(jobs: Path, name: str) -> None:
    (text,) = [text for text in BLOCK.findall(SUB_PLANS) if text.startswith(f"name: {name}\n")]
    assert plan_data(load_plan(f"{jobs}:{name}")) == plan_data(read_plan(text.encode(), "example.yaml"))
    assert plan_hash(load_plan(f"{jobs}:{name}")) == plan_hash(read_plan(text.encode(), "example.yaml"))


def test_the_gallery_has_five_plans_that_compile_and_can_be_run_without_inputs() -> None:
    plans = [compiled(text) for text in PLANS]
    assert len({plan.name for plan in plans}) == 5
    assert not [name for plan in plans for name, declared in plan.inputs.items() if declared.required]
    assert all(plan.description and plan.outputs for plan in plans)
