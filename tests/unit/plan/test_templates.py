"""Templates: types of lone references, messages for what is missing, and limits that hold on any thread."""

from __future__ import annotations

import threading
import time
import tracemalloc
from typing import Any

import pytest

from engine.errors import Permanent
from engine.plan.templates import lone_reference, references, render

ENVIRONMENT: dict[str, Any] = {
    "inputs": {"limit": 3, "big": list(range(100_000)), "flag": True},
    "steps": {"scan": {"output": {"files": ["a.txt", "b.txt"], "items": 7, "none": None}, "state": "succeeded"}},
    "item": {"name": "x"},
    "run": {"id": "r_1"},
}


@pytest.mark.parametrize(
    ("template", "expected"),
    [
        ("{{ steps.scan.output.files }}", ["a.txt", "b.txt"]),
        ("{{ steps.scan.output.files[-1] }}", "b.txt"),
        ("{{ steps['scan'].output.items }}", 7),
        ("{{ steps.scan.output.none }}", None),
        ("{{inputs.flag}}", True),
        ("{{ item.name }}", "x"),
    ],
)
def test_a_lone_reference_keeps_its_type(template: str, expected: Any) -> None:
    assert render(template, ENVIRONMENT) == expected


@pytest.mark.parametrize(
    ("template", "expected"),
    [
        ("n={{ inputs.limit + 1 }}", "n=4"),
        ("{{ steps.scan.output.files | join(', ') | upper }}", "A.TXT, B.TXT"),
        ("{% for f in steps.scan.output.files %}{{ loop.index }}:{{ f }} {% endfor %}", "1:a.txt 2:b.txt "),
        ("{{ steps.scan.output.files }} {{ inputs.flag }}", '["a.txt", "b.txt"] true'),
        ("{{ inputs.absent | default('none') }}!", "none!"),
        ("{{ 'a' ~ inputs.limit ~ 'b' }}", "a3b"),
        ("{{ [{'n': 2}, {'n': 1}] | map(attribute='n') | sort | tojson }}", "[1, 2]"),
        ("no template { here }", "no template { here }"),
    ],
)
def test_other_templates_become_text(template: str, expected: str) -> None:
    assert render(template, ENVIRONMENT) == expected


@pytest.mark.parametrize(
    ("template", "told"),
    [
        ("{{ steps.scan.output.fils }}", "did you mean 'files'"),
        ("x {{ steps.scan.outpt }}", "did you mean 'output'"),
        ("x {{ stps.scan }}", "did you mean 'steps'"),
        ("{{ steps.scan.output.files[9] }}", "it is a list of 2"),
        ("{{ item.name.first }}", "it is text"),
    ],
)
def test_a_missing_name_is_told_with_what_there_is(template: str, told: str) -> None:
    with pytest.raises(Permanent, match=told):
        render({"a": [template]}, ENVIRONMENT)


BOMBS = [
    "x{{ 'a' * 10**9 }}",
    "x{{ ['a' * 99999] * 99999 }}",
    "x{{ [[1] * 99999] * 99999 }}",
    "{% for i in range(9999) %}{% for j in range(9999) %}{% endfor %}{% endfor %}",
    "{% for i in range(9999) %}{{ 'x' * 1000 }}{% endfor %}",
    "{% for i in range(9999) %}{{ inputs.big | sum }}{% endfor %}",
    "{% for i in range(9999) %}{% if -1 in inputs.big %}{% endif %}{% endfor %}",
    "{% for i in range(9999) %}" + "{% if i %}{% endif %}" * 1000 + "{% endfor %}",
    "x{{ '%1000000000d' | format(1) }}",
    "x{{ '%1000000000d' % 1 }}",
    "x{{ '{:1000000000d}'.format(1) }}",
    "x{{ 'a' | center(10**9) }}",
    "x{{ 'a' | indent(10**9) }}",
    "x{{ 1 | round(10**9, 'ceil') }}",
    "x{{ 10 ** (10 ** 10) }}",
    "x{{ range(10**9) | list }}",
    "x{{ inputs.big | join('x' * 9999) }}",
    "x{{ inputs.big | map('replace', '0', 'x' * 60000) | list }}",
    "{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}",
    "{% for x in inputs.big recursive %}{{ loop(inputs.big) }}{% endfor %}",
    "{% include 'other' %}",
    "{% set a = 'a' * 999999 %}" + "".join(f"{{% set a{n} = a ~ 'x' %}}" for n in range(600)),
    "x{{ ''.__class__.__mro__ }}",
    "x{{ inputs.big.append(1) }}",
    "x{{ _budget }}",
    "x{{" + "(" * 5000 + "1" + ")" * 5000 + "}}",
    "{{ a }}" * 9000,
]


@pytest.mark.parametrize("template", BOMBS, ids=lambda template: template[:40])
def test_a_template_that_does_too_much_is_refused_at_once(template: str) -> None:
    start = time.thread_time()
    with pytest.raises(Permanent):
        render(template, ENVIRONMENT)
    assert time.thread_time() - start < 0.5


def test_refusing_holds_on_any_thread_and_takes_little_memory() -> None:
    refused: list[str] = []

    def try_all() -> None:
        for template in BOMBS[:8]:
            with pytest.raises(Permanent):
                render(template, ENVIRONMENT)
            refused.append(template)

    tracemalloc.start()
    thread = threading.Thread(target=try_all)
    thread.start()
    thread.join()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert len(refused) == 8
    assert peak < 50_000_000


def test_output_is_capped_over_the_whole_tree() -> None:
    with pytest.raises(Permanent, match="longer than 100"):
        render(["{{ inputs.limit }}" + "x" * 60] * 2, ENVIRONMENT, limit=100)


def test_references_name_steps_inputs_and_what_is_wrong() -> None:
    found = references({"a": "{{ steps.scan.output }}", "b": "{% for x in inputs.y %}{{ x }}{{ item }}{% endfor %}"})
    assert found.steps == {"scan"}
    assert found.inputs == {"y"}
    assert found.uses_item
    assert not found.problems
    assert "steps.scan has no 'outptu'; did you mean 'output'?" in references("{{ steps.scan.outptu }}").problems


def test_a_lone_reference_is_exactly_one_path() -> None:
    assert lone_reference("{{ steps.a.output['x y'][0] }}") == ("steps", "a", "output", "x y", 0)
    assert lone_reference("{{ a }} ") is None
    assert lone_reference("{{ a | upper }}") is None
