"""The share of a context that its result used."""

from __future__ import annotations

import pytest

from engine.context.utilisation import cited, measured

GPT = "openai/gpt-4o"
TEXTS = ("Refunds are paid in ten days to the card.", "Gold members take two bags for free.", "42")


@pytest.mark.parametrize(
    ("result", "used"),
    [
        ("", ()),
        ("Nothing that is said there.", ()),
        ("REFUNDS, are paid: in ten days", (0,)),
        ("paid in ten", (0,)),  # a result of three words: all of them in a row
        ("paid in ten or more weeks", ()),
        ("See [s2].", (1,)),
        ("See [s1, s2]", (0, 1)),
        ("42", (2,)),
        ("free", (1,)),  # a result of one word: a label out of the text
    ],
)
def test_a_piece_is_used_if_it_is_cited_or_shares_words_in_a_row(result: str, used: tuple[int, ...]) -> None:
    single = [measured([text], "", GPT)[0] for text in TEXTS]
    assert measured(TEXTS, result, GPT) == (sum(single), sum(single[at] for at in used))


def test_marks_are_told_from_other_brackets() -> None:
    assert cited("as [s3] and [s1; s12], not [4], s5 or [x]") == {"s3", "s1", "s12"}
