"""What is thrown at the reader: noise, damaged plans, odd plans of the right form, and token soup."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from hypothesis import strategies as st

ROOT = Path(__file__).parents[2]
CORPUS = [
    path.read_bytes()
    for folder in ("dags", "tests/fixtures/plans/bad")
    for path in sorted((ROOT / folder).glob("*.yaml"))
    if path.stat().st_size < 20_000
]

NAMES = st.sampled_from(["a", "b", "read", "inputs", "outputs", "A-b", "", "x" * 70, "é", "on", "1", "<<"])
TASKS = st.sampled_from(["files.read", "files.find", "files.reed", "plan.inputs", "t.x", "", "1.2", "a b"])
ATOMS = st.sampled_from(
    [
        "{{ inputs.a }}",
        "{{ steps.a.output }}",
        "{{ steps.b.output.x[0] }}",
        "{{ item }}",
        "{{ run.id }}",
        "{{ steps }}",
        "{{ inputs }}",
        "{{",
        "{% for x in inputs.a %}{{ x }}{% endfor %}",
        "{{ steps[item] }}",
        "{{ a.b.c }}",
        "all",
        "any",
        "fail",
        "5m",
        "1e3",
        "steps.a.output > 1",
        "len(steps.a.output) == 0",
        "true",
        "item > 1",
        "x" * 300,
        "{#",
        "%}",
    ]
)
SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | ATOMS | st.text(max_size=8)
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=3), max_leaves=6
)


def _mappings(keys: dict[str, st.SearchStrategy[Any]]) -> st.SearchStrategy[dict[str, Any]]:
    """Mappings with some of the keys there are, each mostly of its own kind, sometimes of any."""
    return st.fixed_dictionaries({}, optional={key: value | VALUES for key, value in keys.items()})


STEPS = st.deferred(
    lambda: _mappings(
        {
            "task": TASKS,
            "plan": NAMES | PLANS,
            "with": st.dictionaries(NAMES, VALUES, max_size=3),
            "after": st.lists(NAMES, max_size=3),
            "for_each": ATOMS | st.lists(SCALARS, max_size=3),
            "when": ATOMS,
            "join": st.sampled_from(["all", "any", "all_done"])
            | st.fixed_dictionaries({"at_least": st.integers(0, 3)}),
            "retry": _mappings({"attempts": st.integers(0, 9), "wait": ATOMS, "on": st.lists(NAMES, max_size=2)}),
            "on_failure": st.fixed_dictionaries({"fall_back": NAMES}) | ATOMS,
            "timeout": ATOMS,
            "max_parallel": SCALARS,
            "effects": ATOMS,
            "queue": NAMES,
            "pools": st.lists(NAMES, max_size=2),
            "zzz": VALUES,
        }
    )
)
PLANS = st.deferred(
    lambda: _mappings(
        {
            "name": NAMES,
            "steps": st.dictionaries(NAMES, STEPS | VALUES, max_size=4),
            "outputs": VALUES,
            "inputs": st.dictionaries(
                NAMES, _mappings({"type": ATOMS, "default": VALUES, "required": SCALARS}), max_size=3
            ),
            "pools": st.dictionaries(NAMES, SCALARS, max_size=2),
            "priority": SCALARS,
            "deadline": ATOMS,
            "budget": VALUES,
        }
    )
)

SPLICES = st.sampled_from(
    [
        b"",
        b"\n",
        b" ",
        b"\t",
        b":",
        b"- ",
        b"[",
        b"]",
        b"{",
        b"}",
        b"*a",
        b"&a ",
        b"!!",
        b"'",
        b'"',
        b"|",
        b">",
        b"%",
        b"#",
        b"? ",
        b"---\n",
        b"...\n",
        b"\xff",
        b"\x00",
        b"\xc3\xa9",
        b"\xef\xbb\xbf",
        b"{{",
        b"}}",
        b"<<: ",
        b"\\u",
        b"~",
        b"0x",
    ]
)


@st.composite
def damaged_files(draw: st.DrawFn) -> bytes:
    """A plan of the collection with a few cuts, copies and splices in it."""
    raw = draw(st.sampled_from(CORPUS))
    for _ in range(draw(st.integers(1, 5))):
        first, last = sorted((draw(st.integers(0, len(raw))), draw(st.integers(0, len(raw)))))
        last = min(last, first + 40)
        middle = draw(st.one_of(SPLICES, st.just(raw[first:last] * 2), st.binary(max_size=4)))
        raw = raw[:first] + middle + raw[last:]
    return raw


FILES = st.one_of(
    st.binary(max_size=200),
    st.text(max_size=200).map(lambda text: text.encode("utf-8", "surrogatepass")),
    damaged_files(),
    PLANS.map(lambda plan: json.dumps(plan).encode()),
)
"""Contents of plan files."""

_OPERATORS = "+ - * / // % ** ~ | == != < > <= >= ( ) [ ] { } , : . .. if else for in not and or is".split()  # noqa: SIM905 - read more easily
_WORDS = (  # noqa: SIM905 - as above
    "inputs steps item index run a b output state error count failed x loop true false null none 0 1 -1 9 99 1e3 "
    "10**9 'a' 'abc' \"q\" [1,2] {'a':1} inputs.a inputs.big steps.a.output steps.a.output.x len( max( sorted( str( "
    "range( int( contains( lambda import __class__ _budget upper join sort map('upper') replace('a','b') tojson "
    "default sum first last round abs length list unique indent(9) truncate dictsort"
).split()
SOUP = st.lists(st.sampled_from(_OPERATORS + _WORDS) | st.text(max_size=3), max_size=25).map(" ".join)
NESTED = st.tuples(
    st.sampled_from(["(", "[", "-", "not ", "'a'*", "1+", "a.", "[1]*", "{", "x if "]), st.integers(1, 20_000)
)
EXPRESSIONS = SOUP | NESTED.map(lambda part: part[0] * part[1] + "1") | st.text(max_size=60)
"""Conditions."""

_TAGS = st.sampled_from(
    [
        "{% for x in inputs.big %}",
        "{% for x in range(9999) %}",
        "{% endfor %}",
        "{% if item %}",
        "{% else %}",
        "{% endif %}",
        "{% set x = 'a' * 9999 %}",
        "{% set x = x ~ x %}",
        "{% macro m() %}",
        "{% include 'x' %}",
        "{% raw %}",
        "{# c #}",
        "text",
    ]
)
TEMPLATES = (
    st.lists(_TAGS | SOUP.map(lambda soup: f"{{{{ {soup} }}}}"), max_size=8).map("".join)
    | EXPRESSIONS.map(lambda text: f"{{{{ {text} }}}}")
    | st.text(max_size=60)
)
"""Texts with templates in them."""
