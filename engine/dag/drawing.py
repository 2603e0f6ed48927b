"""A compiled plan as a drawing: text, SVG, Mermaid or DOT.

Identifiers come from the steps' paths, so that two drawings of a plan can be compared; every text is
escaped for its form. Must not lay out: ``engine.dag.layout`` does.
"""

from __future__ import annotations

from collections.abc import Callable
from html import escape

from engine.dag.compiled import CompiledPlan, CompiledStep
from engine.dag.layout import Layout, columns_of, layout

_ROW, _BOX, _GAP, _LETTER, _MARGIN = 44, 30, 60, 7.3, 16

_STYLE = """
  svg { background: #ffffff; font: 12px ui-monospace, Menlo, Consolas, monospace; }
  .step rect { fill: #f4f6fb; stroke: #4a5a80; }
  .step.conditional rect { stroke-dasharray: 5 3; }
  .step.stand-in rect { fill: #fff5e6; stroke: #9a6a1c; }
  .step text { fill: #1c2333; dominant-baseline: central; }
  .edge { fill: none; stroke: #8a94ad; }
  @media (prefers-color-scheme: dark) {
    svg { background: #14171f; }
    .step rect { fill: #222838; stroke: #8fa3d4; }
    .step.stand-in rect { fill: #33291a; stroke: #d6a04c; }
    .step text { fill: #e8ecf6; }
    .edge { stroke: #6b7690; }
  }
"""


def as_text(compiled: CompiledPlan) -> str:
    """One line a step, by generation, each with what it waits for."""
    columns = columns_of([step.parents for step in compiled.steps])
    names = {step.no: _label(step) for step in compiled.steps}
    width = max(map(len, names.values()), default=0)
    tasks = max((len(step.task) for step in compiled.steps), default=0)
    lines = [f"{compiled.name}  {len(compiled.steps)} steps in {max(columns, default=-1) + 1} generations"]
    before = -1
    for step in sorted(compiled.steps, key=lambda step: (columns[step.no], step.path)):
        column = columns[step.no]
        number = f"{column + 1:>3}" if column != before else "   "
        above = ", ".join(compiled.steps[no].path for no in step.parents)
        line = f"{number}  {names[step.no]:<{width}}  {step.task:<{tasks}}"
        lines.append(f"{line}  <- {above}" if above else line.rstrip())
        before = column
    return "\n".join(lines) + "\n"


def as_mermaid(compiled: CompiledPlan) -> str:
    """A Mermaid flowchart; Markdown pages of many forges draw it."""
    lines = ["flowchart LR"]
    for step in compiled.steps:
        label = f'"{_mermaid(_label(step))}<br/><small>{_mermaid(step.task)}</small>"'
        lines.append(f"  {_name(step)}[[{label}]]" if step.fanned else f"  {_name(step)}[{label}]")
    for parent, child in _edges(compiled):
        lines.append(f"  {_name(parent)} {'-.->' if child.when else '-->'} {_name(child)}")
    return "\n".join(lines) + "\n"


def as_dot(compiled: CompiledPlan) -> str:
    """Graphviz's language."""
    lines = [f"digraph {_dot(compiled.name)} {{", "  rankdir=LR;", "  node [shape=box, fontname=monospace];"]
    for step in compiled.steps:
        text = f"{_label(step)}\n{step.task}"
        look = [f"label={_dot(text)}"]
        look += ["peripheries=2"] if step.fanned else []
        look += ["style=dashed"] if step.when else []
        lines.append(f"  {_dot(step.path)} [{', '.join(look)}];")
    lines += [f"  {_dot(parent.path)} -> {_dot(child.path)};" for parent, child in _edges(compiled)]
    return "\n".join([*lines, "}"]) + "\n"


def as_svg(compiled: CompiledPlan) -> str:
    """A picture of its own, in light and dark, without scripts."""
    placed = layout_of(compiled)
    sheet = _Sheet(compiled, placed)
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" role="img" width="{sheet.width:.0f}" height="{sheet.height:.0f}" '
        f'viewBox="0 0 {sheet.width:.0f} {sheet.height:.0f}">',
        f"<title>{escape(compiled.name)}</title>",
        f"<style>{_STYLE}</style>",
        '<defs><marker id="tip" viewBox="0 0 8 8" refX="8" refY="4" markerWidth="7" markerHeight="7" orient="auto">'
        '<path d="M0 0L8 4L0 8z" fill="#8a94ad"/></marker></defs>',
        *(sheet.edge(parent, child) for parent, child in _edges(compiled)),
        *(sheet.step(step) for step in compiled.steps),
        "</svg>",
    ]
    return "\n".join(lines) + "\n"


DRAWINGS: dict[str, Callable[[CompiledPlan], str]] = {
    "text": as_text, "svg": as_svg, "mermaid": as_mermaid, "dot": as_dot,
}  # fmt: skip
"""By the name of the form."""


def layout_of(compiled: CompiledPlan) -> Layout:
    """Where the steps are drawn, by number."""
    return layout([step.parents for step in compiled.steps])


class _Sheet:
    """Units of a layout as pixels."""

    def __init__(self, compiled: CompiledPlan, placed: Layout) -> None:
        self._placed = placed
        widths = [80.0] * (max(placed.columns, default=-1) + 1)
        for step in compiled.steps:
            column = placed.columns[step.no]
            widths[column] = max(widths[column], len(_label(step)) * _LETTER + 20)
        self._widths = widths
        self._lefts = [_MARGIN + sum(widths[:column]) + _GAP * column for column in range(len(widths))]
        self.width = _MARGIN * 2 + sum(widths) + _GAP * max(len(widths) - 1, 0)
        self.height = _MARGIN * 2 + (placed.rows - 1) * _ROW + _BOX

    def step(self, step: CompiledStep) -> str:
        column = self._placed.columns[step.no]
        x, y, width = self._lefts[column], self._y(self._placed.heights[step.no]), self._widths[column]
        kinds = [
            "step",
            *(["conditional"] if step.when else []),
            *(["stand-in"] if step.fallback_of is not None else []),
        ]
        facts = [step.path, step.task, f"when {step.when}" if step.when else "", _items(step)]
        told = escape("\n".join(filter(None, facts)))
        box = f'<rect x="{x:.1f}" y="{y - _BOX / 2:.1f}" width="{width:.1f}" height="{_BOX}" rx="5"/>'
        behind = box.replace(f'x="{x:.1f}" y="{y - _BOX / 2:.1f}"', f'x="{x + 4:.1f}" y="{y - _BOX / 2 + 4:.1f}"')
        return (
            f'<g class="{" ".join(kinds)}" id="step-{_id(step)}" data-step="{escape(step.path)}">'
            f"<title>{told}</title>{behind if step.fanned else ''}{box}"
            f'<text x="{x + 10:.1f}" y="{y:.1f}">{escape(_label(step))}</text></g>'
        )

    def edge(self, parent: CompiledStep, child: CompiledStep) -> str:
        placed = self._placed
        points = [(placed.columns[parent.no], placed.heights[parent.no]), *placed.ways[parent.no, child.no]]
        x, y = self._lefts[points[0][0]] + self._widths[points[0][0]], self._y(points[0][1])
        path = f"M{x:.1f} {y:.1f}"
        for column, height in [*placed.ways[parent.no, child.no], (placed.columns[child.no], placed.heights[child.no])]:
            left, below = self._lefts[column], self._y(height)
            bend = (left - x) / 2
            path += f"C{x + bend:.1f} {y:.1f} {left - bend:.1f} {below:.1f} {left:.1f} {below:.1f}"
            x, y = left, below
            if column != placed.columns[child.no]:
                x += self._widths[column]
                path += f"H{x:.1f}"
        return f'<path class="edge" id="edge-{_id(parent)}--{_id(child)}" d="{path}" marker-end="url(#tip)"/>'

    def _y(self, height: float) -> float:
        return _MARGIN + _BOX / 2 + height * _ROW


def _edges(compiled: CompiledPlan) -> list[tuple[CompiledStep, CompiledStep]]:
    return [(compiled.steps[parent], step) for step in compiled.steps for parent in step.parents]


def _label(step: CompiledStep) -> str:
    return f"{step.path}[]" if step.fanned else step.path


def _items(step: CompiledStep) -> str:
    if not step.fanned:
        return ""
    items = f"{len(step.for_each)} items" if isinstance(step.for_each, list) else step.for_each
    return f"for each of {items}"


def _id(step: CompiledStep) -> str:
    return escape(step.path.replace("/", "."))


def _name(step: CompiledStep) -> str:
    return "s_" + step.path.replace("/", "-")


def _mermaid(text: str) -> str:
    return "".join(
        character if character.isalnum() or character in "_./-[] " else f"#{ord(character)};" for character in text
    )


def _dot(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n") + '"'
