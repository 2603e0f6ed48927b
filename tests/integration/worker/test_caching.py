"""Task types whose results are kept, in a real worker: what runs, what is served, and what is noted of it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest

from engine.wire import NodeReport, Outcome
from tests.integration.worker.conftest import settings_for
from tests.services.redis import RedisServer
from tests.services.worker import Bench


@pytest.fixture
def bench(redis_server: RedisServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bench]:
    monkeypatch.setenv("FLYWHEEL_SECRET_API_KEY", "swordfish-7/&")
    modules = ("tests.integration.worker.cached_bodies",)
    made = Bench(
        redis_server,
        settings_for(redis_server, tmp_path, task_modules=modules, call_usd={"k.user": 0.5, "k.square": 0.3}),
    )
    made.start()
    yield made
    made.close()


@pytest.fixture
def marks(tmp_path: Path) -> str:
    return str(tmp_path / "marks")


def _value(report: NodeReport) -> Any:
    assert report.outcome is Outcome.OK, report.error
    return orjson.loads(report.result or "")["v"]


def _kinds(report: NodeReport) -> list[str]:
    return [kind for kind, _ in report.notes]


def test_a_kept_result_ends_an_attempt_whose_body_never_began(bench: Bench, marks: str) -> None:
    first = bench.run("k.user", {"marks": marks, "user": 1})
    again = bench.run("k.user", {"user": 1, "marks": marks}, run_id="r_2")
    assert _value(first) == _value(again) == {"user": 1, "ran": 1, "padding": ""}
    assert (first.begun_at is None, again.begun_at is None) == (False, True)
    assert (_kinds(first), _kinds(again)) == (["cache"], ["ledger"])
    entry = again.notes[0][1]
    assert (entry["kind"], entry["name"], entry["cache"]) == ("tool", "k.user", "hit")
    assert 500_000_000 <= entry["saved_nusd"] < 501_000_000, "the price of the call and a moment of the worker"
    assert "cost_nusd" not in entry


def test_a_large_result_is_served_as_the_artefact_it_is(bench: Bench, marks: str) -> None:
    first = bench.run("k.user", {"marks": marks, "user": 1, "padding": 50_000})
    again = bench.run("k.user", {"marks": marks, "user": 1, "padding": 50_000})
    assert '"ref"' in (first.result or "")
    assert orjson.loads(again.result or "") == orjson.loads(first.result or "")


def test_a_write_makes_its_tags_stale_and_no_others(bench: Bench, marks: str) -> None:
    for user in (1, 2):
        bench.run("k.user", {"marks": marks, "user": user})
    saved = bench.run("k.save", {"user": 1}, effects="idempotent")
    assert _kinds(saved) == ["cache_write"]
    assert _value(bench.run("k.user", {"marks": marks, "user": 1}))["ran"] == 3
    assert _value(bench.run("k.user", {"marks": marks, "user": 2}))["ran"] == 2


def test_a_write_that_failed_may_have_changed_a_part(bench: Bench, marks: str) -> None:
    bench.run("k.user", {"marks": marks, "user": 1})
    assert bench.run("k.save", {"user": 1, "fail": True}, effects="idempotent").outcome is Outcome.FAILED
    assert _value(bench.run("k.user", {"marks": marks, "user": 1}))["ran"] == 2


def test_another_tenant_or_session_or_run_is_not_served_what_is_not_shared_with_it(bench: Bench, marks: str) -> None:
    care = {"cache": {"shared": "session"}}
    given = {"marks": marks}
    assert _value(bench.run("k.plain", given, care=care)) == 1
    assert _value(bench.run("k.plain", given, care=care, run_id="r_2")) == 1
    assert _value(bench.run("k.plain", given, care=care, session="other")) == 2
    assert _value(bench.run("k.plain", given, care=care, tenant="other")) == 3
    assert _value(bench.run("k.plain", given, care={"cache": {"shared": "run"}})) == 4
    assert _value(bench.run("k.plain", given)) == 5, "nobody said that it may be kept"


def test_a_step_may_forbid_what_its_task_type_allows(bench: Bench, marks: str) -> None:
    bench.run("k.user", {"marks": marks, "user": 1})
    assert _value(bench.run("k.user", {"marks": marks, "user": 1}, care={"cache": False}))["ran"] == 2
    assert _value(bench.run("k.user", {"marks": marks, "user": 1}, care={"cache": {"sensitive": True}}))["ran"] == 3


def test_a_body_with_effects_is_never_served(bench: Bench, marks: str) -> None:
    for _ in range(2):
        last = bench.run("k.plain", {"marks": marks}, effects="idempotent", care={"cache": {}})
    assert _value(last) == 2


def test_a_lasting_failure_is_told_again_without_running(bench: Bench, marks: str) -> None:
    for _ in range(2):
        last = bench.run("k.missing", {"marks": marks})
    assert last.outcome is Outcome.FAILED
    assert last.error is not None
    assert (last.error.type, last.error.message, last.error.retryable) == ("Permanent", "no such thing", False)
    assert last.notes[0][1]["cache"] == "negative"
    assert Path(marks).read_text().count("ran") == 1


def test_what_had_to_do_with_a_secret_is_not_kept(bench: Bench, marks: str) -> None:
    for given in ({"key": "secret://api_key"}, {"ask": True}):
        before = _value(bench.run("k.secret", {"marks": marks, **given}))
        assert _value(bench.run("k.secret", {"marks": marks, **given})) == before + 1
    assert not any(b"swordfish" in value for value in bench.server.client.hvals("t:cache:entries"))


def test_a_result_serves_as_long_as_its_file_is_what_it_was(bench: Bench, marks: str, tmp_path: Path) -> None:
    path = tmp_path / "input"
    path.write_text("one")
    given = {"marks": marks, "path": str(path)}
    assert _value(bench.run("k.size", given)) == [1, 3]
    assert _value(bench.run("k.size", given)) == [1, 3]
    path.write_text("two")
    assert _value(bench.run("k.size", given)) == [2, 3]
    path.write_text("one")
    assert _value(bench.run("k.size", given)) == [1, 3], "it is its content, not when it was written"


def test_after_a_flush_nothing_is_served(bench: Bench, marks: str) -> None:
    bench.run("k.user", {"marks": marks, "user": 1})
    bench.server.client.delete(*bench.server.client.keys("t:cache:*"))
    assert _value(bench.run("k.user", {"marks": marks, "user": 1}))["ran"] == 2


def _squares(bench: Bench, marks: str, numbers: list[int], run_id: str = "r_1") -> list[NodeReport]:
    written = {"number": f"{{{{ {numbers}[item] }}}}", "marks": marks}
    care = {"batch": {"max_items": 20}}
    delivery = bench.delivery("k.square", written, nodes=len(numbers), care=care, run_id=run_id)
    bench.send(delivery)
    return bench.ended(delivery)


def test_of_a_batch_only_what_is_not_kept_goes_into_the_invocation(bench: Bench, marks: str) -> None:
    first = _squares(bench, marks, [1, 2, 3])
    again = _squares(bench, marks, [2, 4, 3, 5], "r_2")
    assert _value(bench.run("k.square", {"number": 5, "marks": marks}, run_id="r_3")) == 25, "kept one by one"
    assert Path(marks).read_text() == "1,2,3\n4,5\n"
    assert [_value(node) for node in again] == [4, 16, 9, 25]
    assert [node.begun_at is None for node in again] == [True, False, True, False]
    assert [_kinds(node) for node in first] == [["cache"], ["ledger", "cache"], ["ledger", "cache"]]
    assert [_kinds(node)[-1] for node in again] == ["ledger", "cache", "ledger", "cache"]
    entry = again[0].notes[0][1]
    assert (entry["cache"], "cost_nusd" in entry) == ("hit", False)
    assert 100_000_000 <= entry["saved_nusd"] < 101_000_000, "a third of the call that made it"


def test_of_a_batch_what_failed_is_not_kept_and_what_is_alike_is_made_once(bench: Bench, marks: str) -> None:
    ended = _squares(bench, marks, [7, 13, 7])
    assert Path(marks).read_text() == "7,13\n"
    assert [node.outcome for node in ended] == [Outcome.OK, Outcome.FAILED, Outcome.OK]
    assert [_kinds(node) for node in ended] == [["cache"], ["ledger"], ["ledger"]]
    assert ended[2].begun_at is None
    _squares(bench, marks, [13, 8], "r_2")
    assert Path(marks).read_text() == "7,13\n13,8\n"


def test_nothing_of_a_batch_is_kept_that_asked_for_a_secret(bench: Bench, marks: str) -> None:
    assert not [kind for node in _squares(bench, marks, [1, 99]) for kind in _kinds(node) if kind == "cache"]
    _squares(bench, marks, [1, 99], "r_2")
    assert Path(marks).read_text() == "1,99\n1,99\n"


def test_two_batches_that_want_what_the_other_makes_do_not_wait_for_each_other(bench: Bench, marks: str) -> None:
    written = {"number": "{{ item }}", "marks": marks}
    sent = [
        bench.delivery(
            "k.square", written | {"number": number}, nodes=12, care={"batch": {"max_items": 12}}, run_id=run
        )
        for run, number in (("r_1", "{{ item }}"), ("r_2", "{{ 11 - item }}"))
    ]
    bench.send(*sent)
    ended = [node for delivery in sent for node in bench.ended(delivery)]
    assert {node.outcome for node in ended} == {Outcome.OK}
    made = [number for line in Path(marks).read_text().split() for number in line.split(",")]
    assert sorted(map(int, made)) == list(range(12)), "each once, whoever made it"


def test_a_result_of_another_model_or_of_lesser_care_is_another_result(bench: Bench, marks: str) -> None:
    told = [{}, {"model": "a/b"}, {"model": "a/c"}, {"cheaper": 1}, {"quality": 0.9}, {"needs": {"reasoning": "high"}}]
    ran = [_value(bench.run("k.counted", {"marks": marks}, care=care)) for care in told]
    assert ran == [1, 2, 3, 4, 5, 6]
    assert _value(bench.run("k.counted", {"marks": marks}, care={"model": "a/c"})) == 3


def test_paths_that_a_function_names_are_what_a_result_is_made_from(bench: Bench, marks: str, tmp_path: Path) -> None:
    (tmp_path / "given").write_text("abc")
    given = {"marks": marks, "folder": str(tmp_path), "name": "given"}
    assert _value(bench.run("k.length", given)) == [1, 3]
    assert _value(bench.run("k.length", given)) == [1, 3]
    (tmp_path / "given").write_text("abd")
    assert _value(bench.run("k.length", given)) == [2, 3]
    forbidden = given | {"name": "forbidden"}
    (tmp_path / "forbidden").write_text("")
    assert [_value(bench.run("k.length", forbidden)) for _ in range(2)] == [[3, 0], [4, 0]], "nothing is kept"


def test_a_search_is_served_while_its_folder_is_what_it_was_and_a_read_where_its_step_says_so(
    redis_server: RedisServer, tmp_path: Path
) -> None:
    folder = tmp_path / "logs"
    folder.mkdir()
    (folder / "a.log").write_text("error\nfine\n")
    bench = Bench(redis_server, settings_for(redis_server, tmp_path, task_modules=("tasks",), file_roots=(folder,)))
    bench.start()
    search, read = {"find": {"bad": "error"}}, {"path": "a.log"}

    def searched(care: dict[str, Any] | None = None) -> tuple[int, bool]:
        ended = bench.run("files.search", search, queue="cpu", care=care)
        return _value(ended)["counts"]["bad"], ended.begun_at is None

    def content(care: dict[str, Any] | None) -> tuple[str, bool]:
        ended = bench.run("files.read", read, queue="cpu", care=care)
        return _value(ended)["content"], ended.begun_at is None

    try:
        os.utime(folder / "a.log", (1_000_000_000, 1_000_000_000))
        assert searched() == (1, False)
        assert content({"cache": {}}) == ("error\nfine\n", False)
        assert content({"cache": {}}) == ("error\nfine\n", True)
        assert content(None) == ("error\nfine\n", False)
        bench.wait(lambda: searched() == (1, True), 20)  # settled: its content is no part of the key any more
        (folder / "a.log").write_text("error\nerror\n")
        assert searched() == (2, False)
        assert content({"cache": {}}) == ("error\nerror\n", False)
        assert searched({"cache": False})[1] is False
    finally:
        bench.close()
