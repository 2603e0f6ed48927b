"""Drawings of plans: every step and edge in every form, escaped, the same each time, quick."""

from __future__ import annotations

import itertools
import random
import time
import xml.etree.ElementTree as ET
from typing import Any

import pytest

from engine.dag.compile import compile_plan
from engine.dag.compiled import CompiledPlan
from engine.dag.drawing import DRAWINGS, as_mermaid, as_svg, as_text
from engine.dag.layout import DUMMIES_LIMIT, layout
from engine.plan.model import Plan

SVG = "{http://www.w3.org/2000/svg}"


def compiled(steps: dict[str, Any], **fields: Any) -> CompiledPlan:
    return compile_plan(Plan.model_validate({"name": "p", "steps": steps, **fields}))


def random_parents(count: int, reach: int) -> list[list[int]]:
    chance = random.Random(7)
    return [sorted({chance.randrange(max(0, n - reach), n) for _ in range(3)}) if n else [] for n in range(count)]


INNER = {"name": "inner", "steps": {"one": {"task": "t.x"}}}
NASTY = compiled({
    "a": {"task": "t.x"},
    "fan": {"task": "t.x", "for_each": "{{ steps.a.output }}", "with": {"x": "{{ item }}"}},
    "end": {"task": "t.x", "when": "steps.fan.output != ['</title><script>', '\"&']"},
    "sub": {"plan": INNER, "after": ["end"]},
})  # fmt: skip


@pytest.mark.parametrize("form", DRAWINGS)
def test_every_step_is_in_every_form_and_two_drawings_are_equal(form: str) -> None:
    drawing = DRAWINGS[form](NASTY)
    assert drawing == DRAWINGS[form](NASTY)
    for step in NASTY.steps:
        assert step.path in drawing
    assert "<script>" not in drawing


def test_a_picture_is_xml_with_an_id_for_each_step_and_edge() -> None:
    root = ET.fromstring(as_svg(NASTY))
    ids = {element.get("id") for element in root.iter() if element.get("id")}
    assert {"step-a", "step-fan", "step-sub.one", "edge-a--fan", "edge-end--sub.inputs"} <= ids
    (title,) = [group.find(f"{SVG}title") for group in root.iter(f"{SVG}g") if group.get("id") == "step-end"]
    assert title is not None and title.text is not None and "</title><script>" in title.text


def test_text_shows_generations_and_what_is_waited_for() -> None:
    assert as_text(compiled({"a": {"task": "t.x"}, "b": {"task": "t.yy", "for_each": [1], "after": ["a"]}})) == (
        "p  2 steps in 2 generations\n  1  a    t.x\n  2  b[]  t.yy  <- a\n"
    )


def test_words_that_mean_something_to_mermaid_are_no_identifiers_of_it() -> None:
    assert 's_end["end<br/>' in as_mermaid(NASTY)
    assert "s_sub-one" in as_mermaid(NASTY)


def test_no_two_steps_of_a_column_overlap_and_edges_run_forward() -> None:
    parents = random_parents(300, 40)
    placed = layout(parents)
    for column in set(placed.columns):
        rows = sorted(height for height, at in zip(placed.heights, placed.columns, strict=True) if at == column)
        assert all(below - above >= 1 - 1e-9 for above, below in itertools.pairwise(rows))
    for (parent, child), way in placed.ways.items():
        columns = [placed.columns[parent], *(column for column, _ in way), placed.columns[child]]
        assert columns == sorted(columns)
        assert min(placed.heights) >= 0


def test_sweeping_uncrosses_what_can_be_uncrossed() -> None:
    # Two chains of three, numbered so that they cross as they stand.
    placed = layout([[], [], [1], [0], [2], [3]])
    first, second = (placed.heights[0] < placed.heights[1], placed.heights[3] < placed.heights[2])
    assert first == second
    assert placed.heights[1] == placed.heights[2] == placed.heights[4]


def test_two_thousand_steps_are_placed_quickly_and_bends_are_bounded() -> None:
    start = time.thread_time()
    placed = layout(random_parents(2_000, 60))
    assert time.thread_time() - start < 5.0
    far = layout([[], *([[n - 1] if n < 1_000 else [0, n - 1] for n in range(1, 2_000)])])
    for drawn in (placed, far):
        assert sum(map(len, drawn.ways.values())) <= DUMMIES_LIMIT


def test_nothing_is_drawn_of_nothing() -> None:
    assert layout([]).rows == 1
