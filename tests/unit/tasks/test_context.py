"""context.assemble and context.search over files, data and rows."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from engine.errors import Permanent
from engine.plan.care import Care
from engine.plan.tasktype import Effects
from tasks import context as tasks_context


@pytest.fixture
def docs(root):
    (root / "docs").mkdir()
    (root / "docs/refunds.md").write_text("# Refunds\n\nRefunds are paid in ten days to the card.\n")
    (root / "docs/baggage.md").write_text("# Baggage\n\nGold members take two bags for free.\n")
    (root / "docs/image.bin").write_bytes(b"\xff\xfe\x00")
    return root / "docs"


def test_a_context_has_the_pieces_that_answer_within_its_budget(run, docs):
    made = run(tasks_context.assemble, question="How are refunds paid?", sources=[{"root": "docs"}], max_tokens=400)
    assert [(piece["source"], piece["mark"]) for piece in made["pieces"]] == [("refunds.md", "s1")]
    assert made["pieces"][0]["text"].startswith("# Refunds")
    assert made["tokens"] <= 400
    assert made["wider"] == "full"
    assert [message["role"] for message in made["messages"]] == ["system", "user"]
    assert made["messages"][0]["stable"] is True
    assert made["messages"][1]["text"].endswith("How are refunds paid?")
    assert len(made["unread"]) == 1 and made["unread"][0].startswith("image.bin")
    full = run(
        tasks_context.assemble,
        question="How are refunds paid?",
        sources=[{"root": "docs"}],
        max_tokens=400,
        tier="full",
    )
    assert {piece["source"] for piece in full["pieces"]} == {"refunds.md", "baggage.md"}


def test_a_context_is_narrower_where_money_ran_short(docs, context):
    short = replace(context, care=Care(cheaper=2))
    made = tasks_context.assemble.task_type.function(
        short, question="How are refunds paid?", sources=[{"root": "docs"}], max_tokens=400, tier="full"
    )
    assert made.tier == "minimal"
    assert {piece.source for piece in made.pieces} == {"refunds.md"}


def test_sources_are_texts_data_and_files_and_shared_ones_come_first(run, docs):
    given = {"sources": ["plain words", {"data": [{"a": 1}, {"a": 2}], "source": "rows"}], "tier": "full"}
    shared = [{"path": "docs/refunds.md"}]
    one, other = (
        run(tasks_context.assemble, question=question, shared=shared, instructions="Be brief.", max_tokens=600, **given)
        for question in ("first?", "second?")
    )
    assert one["messages"][0] == other["messages"][0]
    assert "ten days" in one["messages"][0]["text"]
    assert one["prefix_key"] == other["prefix_key"]
    assert [piece["source"] for piece in one["pieces"]] == ["text 1", "rows"]


@pytest.mark.parametrize(("arguments", "message"), [
    ({"sources": [{"path": "/etc/passwd"}]}, "file_roots"), ({"sources": [{"path": "docs/none"}]}, "No such file"),
    ({"sources": [{"what": 1}]}, "source 1 is neither"), ({"question": "word " * 100, "max_tokens": 60}, "more than"),
    ({"sources": [{"root": ".."}]}, "file_roots"),
])  # fmt: skip
def test_bad_input_to_assemble_is_refused(run, docs, arguments, message):
    with pytest.raises(Permanent, match=message):
        run(tasks_context.assemble, **{"question": "what?", **arguments})


def test_what_was_read_ahead_is_what_the_body_would_read(run, docs, context):
    sources = [{"root": "docs"}, "words"]
    ahead = run(tasks_context.assemble.task_type.prefetch and _Prefetch, sources=sources)
    given = replace(context, prefetched=lambda: ahead)
    plain = run(tasks_context.assemble, question="refunds", sources=sources)
    (docs / "refunds.md").unlink()
    assert run(tasks_context.assemble, given=given, question="refunds", sources=sources) == plain


class _Prefetch:
    task_type = tasks_context.assemble.task_type.prefetch


def test_search_finds_pieces_and_rows(run, root, docs):
    found = run(tasks_context.search, query="free bags", sources=[{"root": "docs", "patterns": ["*.md"]}])
    assert [hit["source"] for hit in found["hits"]] == ["baggage.md"]
    assert (found["searched"], found["matched"], found["unread"]) == (2, 1, [])
    rows = [{"id": 1, "body": "payment failed twice"}, {"id": 2, "body": "all fine"}, {"id": 3, "body": "failed"}]
    (root / "rows.jsonl").write_text("\n".join(map(json.dumps, rows)))
    for given in (rows, "rows.jsonl"):
        hits = run(tasks_context.search, query="payment failed", rows=given, fields=["body"], limit=2)["hits"]
        assert [hit["number"] for hit in hits] == [1, 3]
        assert hits[0]["row"] == rows[0] and hits[0]["score"] == 1.0
    assert run(tasks_context.search, query="zebra", rows=rows)["hits"] == []
    assert run(tasks_context.search, query="zebra", sources=["a", "b"])["hits"] == []
    with pytest.raises(Permanent, match="either sources or rows"):
        run(tasks_context.search, query="x")


def test_context_tasks_change_nothing():
    assert tasks_context.assemble.task_type.effects is tasks_context.search.task_type.effects is Effects.NONE
