"""Source code as symbols: every line once, and who calls whom."""

from __future__ import annotations

from pathlib import Path

import engine.context
from engine.context.pieces import Source, pieces_of
from engine.context.ranking import bm25, ranked, words
from engine.context.symbols import SymbolGraph, parts

CODE = '''"""Rows."""
import csv

LIMIT = 3


@cached
class Table:
    """A table."""

    size = 0

    def load(self, lines):
        return [parse(line) for line in lines]

    class Inner:
        pass


if LIMIT:
    def parse(line):
        def strip(cell):
            return cell.strip()

        return strip(line)
'''


def test_code_comes_apart_into_what_it_defines_with_every_line_once() -> None:
    found = parts("rows.py", CODE)
    names = [part.name for part in found]
    assert names == ["", "Table", "Table.load", "Table.Inner", "", "parse"]
    lines = [line for part in found for line in range(part.first, part.last + 1)]
    assert lines == sorted(set(lines))
    assert {number for number, line in enumerate(CODE.split("\n"), 1) if line.strip()} <= set(lines)
    assert found[1].text.startswith("@cached")


def test_every_line_of_real_modules_is_in_one_piece() -> None:
    for file in sorted(Path(engine.context.__file__).parent.glob("*.py")):
        text = file.read_text()
        whole = "\n".join(piece.text for piece in pieces_of([Source(file.name, text, "file")]))
        assert [line for line in whole.split("\n") if line.strip()] == [
            line for line in text.split("\n") if line.strip()
        ]


def test_broken_source_is_taken_as_far_as_it_goes() -> None:
    assert "fine" in [part.name for part in parts("broken.py", "def fine():\n    pass\n\n\ndef broken(:\n    x = (\n")]
    assert parts("empty.py", "  \n") == ()


def test_the_graph_knows_callees_callers_tests_and_the_class() -> None:
    graph = SymbolGraph({"rows.py": CODE, "test_rows.py": "def test_load():\n    Table().load([])\n", "a.md": "load"})
    around = {part.name: worth for part, worth in graph.around(graph.found("Table.load")).items()}
    assert sorted(around, key=lambda name: -around[name]) == ["Table.load", "parse", "test_load", "Table"]
    assert [part.name for part in graph.mentioned("why does Table.load fail? see load()")] == ["Table.load"] * 2


def test_words_of_code_and_of_text_meet() -> None:
    assert words("parseRow of parse_row") == ["parserow", "parse", "row", "parse", "row"]
    assert bm25("what is it", ["a", "b"]) == [0.0, 0.0]
    scores = bm25("refund policy", ["the refund policy", "a refund", "weather"])
    assert scores[0] > scores[1] > scores[2] == 0


def test_where_nothing_can_be_told_all_pieces_are_worth_the_same() -> None:
    pieces = pieces_of([Source("a", "one\n\ntwo"), Source("b", "three")])
    assert ranked("", pieces) == [1.0] * len(pieces)
