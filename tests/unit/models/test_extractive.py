"""``local/extractive``: real output from the given text alone, the same every time."""

from __future__ import annotations

import json
from typing import Any

import pytest

from engine.models.providers import extractive
from engine.models.providers.fields import dates_of, extracted
from engine.models.providers.sentences import sentences_of

TEXT = (
    "Flywheel is a durable workflow engine. It runs plans as graphs of steps. Each step may fan out over thousands of "
    "items. The scheduler journals every change in SQL. Redis may be lost at any time. The weather was nice. Workers "
    "need a permit before a body begins. SQL is the truth and Redis is transport."
)
LABELS = {
    "billing": "payments, refunds, charges and invoices",
    "bug": "errors, crashes, something that does not work",
    "account": "login, password, profile",
}
INVOICE = """Invoice No. 4711
Customer: Ada Lovelace
Invoice date: 3 March 2026
Contact: ada@example.org
Total amount: $1,204.50
The customer has not paid yet."""


def test_a_summary_quotes_sentences_in_their_order() -> None:
    said = extractive.summary({"text": TEXT, "sentences": 3})
    quoted = sentences_of(said)
    assert len(quoted) == 3
    assert [TEXT.index(sentence) for sentence in quoted] == sorted(TEXT.index(sentence) for sentence in quoted)
    assert "weather" not in said


def test_a_question_draws_a_summary_to_what_it_asks() -> None:
    assert "permit" in extractive.summary({"text": TEXT, "sentences": 1, "question": "What do workers need?"})


def test_a_short_text_is_its_own_summary() -> None:
    assert extractive.summary({"text": "One. Two."}) == "One. Two."


@pytest.mark.parametrize(
    ("text", "label"),
    [
        ("I was charged twice, please refund me", "billing"),
        ("The app crashed with an error", "bug"),
        ("I forgot my password and cannot login", "account"),
    ],
)
def test_a_text_gets_the_label_whose_description_is_nearest(text: str, label: str) -> None:
    said = extractive.label({"text": text, "labels": LABELS})
    assert said["label"] == label and 1 / 3 < said["confidence"] <= 1


def test_a_text_that_shares_no_word_gets_the_stated_default_and_little_confidence() -> None:
    said = extractive.label({"text": "zebra", "labels": LABELS, "otherwise": "account"})
    assert said == {"label": "account", "confidence": 0.333, "reason": "no word of it is in any label"}


def test_an_answer_quotes_with_its_source() -> None:
    passages = [{"source": "a.md", "text": TEXT}, {"source": "b.md", "text": "Bread is made of flour."}]
    said = extractive.answer({"question": "What may be lost at any time?", "passages": passages})
    assert said == "Redis may be lost at any time. [a.md]"


def test_what_no_passage_speaks_of_is_not_answered() -> None:
    said = extractive.answer({"question": "Who won?", "passages": [{"text": TEXT}]})
    assert said == "The text says nothing about this."


def test_fields_are_found_by_name_and_form() -> None:
    schema = {
        "type": "object",
        "properties": {
            "customer": {"type": "string"},
            "invoice_date": {"type": "string", "format": "date"},
            "total_amount": {"type": "number"},
            "email": {"type": "string"},
            "paid": {"type": "boolean", "description": "whether the customer has paid"},
            "discount": {"type": ["number", "null"]},
            "status": {"enum": ["open", "closed", None]},
        },
        "required": ["customer", "invoice_date", "total_amount", "email", "paid", "discount"],
    }
    assert extracted(INVOICE, schema) == {
        "customer": "Ada Lovelace",
        "invoice_date": "2026-03-03",
        "total_amount": 1204.5,
        "email": "ada@example.org",
        "paid": False,
        "discount": None,
    }


@pytest.mark.parametrize(
    ("text", "days"),
    [
        ("on 2026-11-05 and 5 Nov 2026", ["2026-11-05", "2026-11-05"]),
        ("March 3rd, 2026", ["2026-03-03"]),
        ("3.4.2026", ["2026-04-03"]),
        ("the 31 February 2026", []),
    ],
)
def test_days_are_read_in_their_usual_forms(text: str, days: list[str]) -> None:
    assert dates_of(text) == days


def test_lists_are_found_by_form_or_as_listed() -> None:
    text = "Write to a@b.org or c@d.org.\n- first thing\n- second thing"
    schema = {"type": "array", "items": {"type": "string"}}
    assert extracted(text, {**schema, "items": {"type": "string", "format": "email"}}) == ["a@b.org", "c@d.org"]
    assert extracted(text, schema, "points") == ["first thing", "second thing"]


def test_an_answer_from_the_text_is_judged_above_one_that_is_not() -> None:
    asked = {"question": "What may be lost?", "passages": [{"text": TEXT}]}
    good = extractive.verdict({**asked, "text": "Redis may be lost at any time."})
    bad = extractive.verdict({**asked, "text": "Bananas grow in the tropics."})
    assert good["score"] > 0.9 and bad["score"] < 0.2


def test_a_goal_is_cut_into_its_parts() -> None:
    said = extractive.subtasks({"goal": "Read the folder; list what is risky. Write a report."})
    assert [part["title"] for part in said["subtasks"]] == ["Read the folder", "list what is risky", "Write a report"]


@pytest.mark.parametrize("facts", [{"text": "", "labels": LABELS}, {"text": "?", "labels": {"x": ""}}])
def test_nothing_at_all_is_labelled_too(facts: dict[str, Any]) -> None:
    assert json.dumps(extractive.label(facts))


def test_wrapped_lines_and_rows_of_tables_are_sentences_and_headings_are_none() -> None:
    text = (
        "## What is lost\n\nSQL is the truth and everything that Redis knows of runs can be\nrebuilt from it at any "
        "time.\n\n| lost | what happens |\n|---|---|\n| Redis | permits are void |\n- one point\n- another\n"
    )
    assert sentences_of(text) == [
        "SQL is the truth and everything that Redis knows of runs can be rebuilt from it at any time.",
        "Redis: permits are void", "- one point", "- another",
    ]  # fmt: skip
    assert sentences_of("") == sentences_of("\n") == []
    assert sentences_of("# Only a heading") == ["# Only a heading"]
