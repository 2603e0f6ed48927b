"""Every problem of a plan in one answer, each in its own file, at its line and column."""

from __future__ import annotations

from pathlib import Path

import pytest

from engine.dag.whole import whole_plan
from engine.errors import PlanError
from engine.plan.decorators import plan, task
from engine.plan.files import find_plan, load_plan, read_plan
from engine.plan.registry import Registry

KNOWN = Registry()


@task("text.shout", effects="none", registry=KNOWN)
def shout(text: str, times: int = 1) -> str:
    """Louder."""
    return text.upper() * times


def told(text: str, folder: Path | None = None, file: str = "plan.yaml") -> list[str]:
    with pytest.raises(PlanError) as caught:
        whole_plan(
            lambda: read_plan(text.encode(), file), lambda name: find_plan(name, [folder] if folder else []), KNOWN
        )
    return [str(problem) for problem in caught.value.problems]


def test_what_reading_and_what_compiling_finds_come_in_one_answer() -> None:
    assert told(
        "name: p\n"
        "inputs: {who: {type: string}}\n"
        "steps:\n"
        "  a: {task: text.shuot, with: {text: hi}}\n"
        "  b:\n"
        "    task: text.shout\n"
        "    max_paralel: 3\n"
        "    with:\n"
        '      text: ["{{ inputs.hwo }}", "{{ steps.aa.output }}"]\n'
        "      tims: 3\n"
        "    after: [a, c]\n"
        "outputs: {x: '{{ steps.b.outputs }}'}\n"
    ) == [
        "plan.yaml:7:5: steps.b.max_paralel: unknown key 'max_paralel'; did you mean 'max_parallel'?",
        "plan.yaml:4:13: steps.a.task: there is no task type 'text.shuot'; did you mean 'text.shout'?",
        "plan.yaml:9:14: steps.b.with.text.0: there is no input 'hwo'; did you mean 'who'?",
        "plan.yaml:9:34: steps.b.with.text.1: there is no step 'aa'; did you mean 'a'?",
        "plan.yaml:10:7: steps.b.with.tims: text.shout has no argument 'tims'; did you mean 'times'?",
        "plan.yaml:11:16: steps.b.after.1: there is no step 'c'; there is: a, b",
        "plan.yaml:12:14: outputs.x: steps.b has no 'outputs'; did you mean 'output'?",
    ]


def test_a_sub_plan_names_its_own_file(tmp_path: Path) -> None:
    inner = tmp_path / "inner.yaml"
    inner.write_text("name: inner\nsteps:\n  one: {task: text.shout, with: {text: '{{ steps.tow.output }}'}}\n")
    broken = tmp_path / "broken.yaml"
    broken.write_text("name: broken\nsteps: {a: {task: text.shout, with: {text: x}, rety: {}}}\n")
    assert told(
        "name: p\nsteps:\n  sub: {plan: inner}\n  bad: {plan: broken}\n  far: {plan: innre, after: [sbu]}\n", tmp_path
    ) == [
        "plan.yaml:5:15: steps.far.plan: there is no plan 'innre'; did you mean 'inner'?",
        f"{broken}:2:48: steps.a.rety: unknown key 'rety'; did you mean 'retry'?",
        "plan.yaml:5:30: steps.far.after.0: there is no step 'sbu'; did you mean 'sub'?",
        f"{inner}:3:40: steps.sub.plan.steps.one.with.text: there is no step 'tow'; there is: one",
    ]


def test_a_step_whose_task_is_misspelt_still_counts_for_its_consumers() -> None:
    assert told(
        "name: p\nsteps:\n  a: {tsk: text.shout}\n  b: {task: text.shout, with: {text: '{{ steps.a.output }}'}}\n"
    ) == ["plan.yaml:3:7: steps.a.tsk: unknown key 'tsk'; did you mean 'task'?"]


def test_a_json_plan_has_places_too() -> None:
    text = '{"name": "p",\n "description": "\\ud83d\\ude00",\n "steps": {"a": {"task": "text.shout", "with": {}}}}'
    assert told(text, file="p.json") == ["p.json:3:40: steps.a.with: text.shout needs the argument 'text'"]


def test_a_python_plan_tells_the_line_of_the_call(tmp_path: Path) -> None:
    file = tmp_path / "wrong.py"
    file.write_text(
        "from engine.authoring import plan, task\n\n@task('wrong.shout')\n"
        "def shout(text: str) -> str:\n    return text\n\n"
        "@plan()\ndef wrong() -> str:\n    first = shout('a')\n    return shout.options(after=['nowhere'])(first)\n"
    )
    with pytest.raises(PlanError) as caught:
        whole_plan(lambda: load_plan(file), lambda name: find_plan(name, []), KNOWN)
    assert f"{file}:10: steps.shout_2.after.0: there is no step 'nowhere'" in str(caught.value)


def test_a_cycle_is_a_path_at_its_first_step() -> None:
    assert told(
        "name: p\nsteps:\n"
        "  c: {task: text.shout, with: {text: '{{ steps.b.output }}'}}\n"
        "  a: {task: text.shout, after: [c], with: {text: x}}\n"
        "  b: {task: text.shout, after: [a], with: {text: x}}\n"
    ) == ["plan.yaml:3:3: steps.c: steps wait for each other: c -> a -> b -> c"]


def test_a_plan_in_python_that_is_sound_compiles_whole() -> None:
    @plan("loud")
    def loud(who: str = "you") -> str:
        return shout(who)

    frozen, compiled = whole_plan(lambda: loud.plan, lambda name: find_plan(name, []), KNOWN)
    assert frozen.steps["shout"].queue == "io"
    assert [step.path for step in compiled.steps] == ["shout"]
