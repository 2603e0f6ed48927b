"""What counts as a change of a task's code, and what does not."""

from __future__ import annotations

import functools
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from textwrap import dedent

import pytest

from engine.plan.code import code_hash, combined_hash
from engine.plan.registry import import_path

SOURCE = '''
from __future__ import annotations

import json
from . import shared
from .prices import total

FACTOR = 2
OTHER = 3


class Row:
    """A row."""


def helper(n: int) -> int:
    return n * FACTOR


def unused() -> None:
    return None


def body(n: int) -> int:
    """Doubled."""
    # why it is doubled
    text = """
# no comment
"""
    return helper(n) + len(text)  # at once


def priced(n: int) -> int:
    return total(n)


def shared_all(n: int) -> int:
    return shared.anything(n)
'''
PRICES = "RATE = 5\n\ndef total(n):\n    return n * RATE\n\ndef else_where():\n    return 0\n"
SHARED = "def anything(n):\n    return n\n"


def hashed(folder: Path, name: str = "body", source: str = SOURCE, prices: str = PRICES, shared: str = SHARED) -> str:
    """The hash of a function in a package that is written out anew, at a place of its own."""
    place = folder / f"p{len(list(folder.iterdir()))}"
    place.mkdir()
    (place / "prices.py").write_text(prices)
    (place / "shared.py").write_text(shared)
    (place / "jobs.py").write_text(source)
    return code_hash(getattr(import_path(place / "jobs.py"), name))


CHANGES = {
    "its body": ("helper(n) +", "helper(n) -"),
    "its docstring": ("Doubled", "Twice"),
    "a string that looks like a comment": ("# no comment", "# none"),
    "a function that it calls": ("n * FACTOR", "FACTOR * n"),
    "a constant that the function it calls uses": ("FACTOR = 2", "FACTOR = 4"),
}
SAME = {
    "a comment": ("# why it is doubled", "# for no reason"),
    "a comment less": ("    # why it is doubled\n", ""),
    "a comment at a line's end": ("  # at once", ""),
    "blank lines": ("\n\n\ndef body", "\n\n\n\n\ndef body"),
    "a function that it does not call": ("return None", "return 1"),
    "a constant that it does not use": ("OTHER = 3", "OTHER = 4"),
    "an import that it does not use": ("import json", "import csv"),
}


@pytest.mark.parametrize("what", CHANGES)
def test_this_is_a_change(what: str, tmp_path: Path) -> None:
    old, new = CHANGES[what]
    assert old in SOURCE
    assert hashed(tmp_path) != hashed(tmp_path, source=SOURCE.replace(old, new, 1))


@pytest.mark.parametrize("what", SAME)
def test_this_is_no_change(what: str, tmp_path: Path) -> None:
    old, new = SAME[what]
    assert old in SOURCE
    assert hashed(tmp_path) == hashed(tmp_path, source=SOURCE.replace(old, new, 1))


def test_what_is_imported_from_the_same_package_counts_as_far_as_it_is_used(tmp_path: Path) -> None:
    before = hashed(tmp_path, "priced")
    assert hashed(tmp_path, "priced", prices=PRICES.replace("RATE = 5", "RATE = 6")) != before
    assert hashed(tmp_path, "priced", prices=PRICES.replace("return 0", "return 1")) == before
    assert hashed(tmp_path, prices=PRICES.replace("RATE = 5", "RATE = 6")) == hashed(tmp_path)


def test_all_of_a_module_counts_that_is_used_as_a_whole(tmp_path: Path) -> None:
    other = SHARED.replace("return n", "return -n")
    assert hashed(tmp_path, "shared_all") != hashed(tmp_path, "shared_all", shared=other)


def test_another_process_with_another_hash_seed_finds_the_same(tmp_path: Path) -> None:
    here = hashed(tmp_path, "priced")
    script = dedent("""
        import sys
        from pathlib import Path
        from engine.plan.code import code_hash
        from engine.plan.registry import import_path
        print(code_hash(import_path(Path(sys.argv[1])).priced))
    """)
    for seed in ("1", "2"):
        done = subprocess.run(
            [sys.executable, "-c", script, str(tmp_path / "p0" / "jobs.py")],
            env={"PYTHONHASHSEED": seed}, cwd=Path(__file__).parents[3], capture_output=True, text=True, check=True,
        )  # fmt: skip
        assert done.stdout.strip() == here


def made(factor: int) -> Callable[[int], int]:
    def inner(n: int) -> int:
        return n * factor

    return inner


def test_what_a_closure_holds_is_part_of_it() -> None:
    assert code_hash(made(2)) == code_hash(made(2))
    assert code_hash(made(2)) != code_hash(made(3))


def test_a_decorator_does_not_hide_what_it_wraps() -> None:
    def decorated(function: Callable[[int], int]) -> Callable[[int], int]:
        @functools.wraps(function)
        def call(n: int) -> int:
            return function(n)

        return call

    assert code_hash(decorated(made(2))) != code_hash(decorated(made(3)))


def without_source(text: str) -> Callable[..., object]:
    names: dict[str, Callable[..., object]] = {}
    exec(text, {"__name__": "made.of.nothing"}, names)
    return names["body"]


def test_a_function_without_source_is_told_by_its_bytecode() -> None:
    text = "def body(n):\n    return n in {'a', 'b', 'c'}\n"
    assert code_hash(without_source(text)) == code_hash(without_source("\n\n" + text))
    assert code_hash(without_source(text)) != code_hash(without_source(text.replace("'a'", "'d'")))


def test_a_builtin_is_told_by_its_name() -> None:
    assert code_hash(len) == code_hash(len)
    assert code_hash(len) != code_hash(sum)


def test_one_hash_over_several_tells_names_and_hashes() -> None:
    assert combined_hash({"a": "1", "b": "2"}) == combined_hash({"b": "2", "a": "1"})
    assert combined_hash({"a": "1", "b": "2"}) != combined_hash({"a": "2", "b": "1"})
