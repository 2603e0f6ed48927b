"""What people look with: the doctor, differences, exports, completion, Celery's own tools; on a real stack."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest


class Installation:
    """A stack that runs, in a folder of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        bare = {name: value for name, value in os.environ.items() if not name.startswith("FLYWHEEL_")}
        self.environment = bare | {"FLYWHEEL_STOP_GRACE_S": "2", "FLYWHEEL_CPU_SLOTS": "1"}
        (folder / "dags").mkdir()
        (folder / "dags" / "tiny.yaml").write_text(
            "name: tiny\ninputs: {say: {type: string, default: hello}}\n"
            'steps: {tell: {task: notify.log, with: {message: "{{ inputs.say[:99] }}"}}}\n'
            'outputs: {said: "{{ steps.tell.output.message }}"}\n'
        )

    def call(self, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-P", "-m", "engine.cli.main", *arguments],
            cwd=self.folder, env=self.environment | environment, capture_output=True, text=True, timeout=100,
        )  # fmt: skip

    def run(self, say: str) -> str:
        done = self.call("run", "tiny", "-p", f"say={say}", "--json")
        assert done.returncode == 0, done.stderr
        return str(json.loads(done.stdout)["run"])


@pytest.fixture(scope="module")
def installation(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    made = Installation(tmp_path_factory.mktemp("looking"))
    up = made.call("up", "--detach")
    assert up.returncode == 0, up.stderr
    yield made
    made.call("down")


def test_the_doctor_sends_a_node_through_each_queue_and_leaves_nothing(installation: Installation) -> None:
    done = installation.call("doctor", "--json")
    assert done.returncode == 0, done.stdout
    rows = {row["check"]: row for row in json.loads(done.stdout)["items"]}
    assert {name for name in rows if name.startswith("queue ")} == {
        "queue cpu", "queue io", "queue speculative", "queue prefetch"
    }  # fmt: skip
    assert all(row["status"] == "OK" for name, row in rows.items() if "space" not in name), rows
    tenants = installation.call("runs", "list", "--tenant", "flywheel-doctor", "--json")
    assert json.loads(tenants.stdout)["items"] == []


def test_the_doctor_fails_for_a_queue_that_nobody_serves(installation: Installation) -> None:
    done = installation.call("doctor", "--timeout", "1s", "--json", FLYWHEEL_QUEUES="cpu,io,speculative,prefetch,gpu")
    assert done.returncode == 5
    failed = [row for row in json.loads(done.stdout)["items"] if row["status"] == "FAIL"]
    assert [row["finding"] for row in failed] == ["not ready after 1 s: no worker for queue gpu"]
    assert failed[0]["fix"]
    asked = installation.call("doctor", "--timeout", "1s", "--no-canary", FLYWHEEL_QUEUES="cpu,gpu")
    assert asked.returncode == 5, "who is there is asked all the same"


def test_the_doctor_names_a_database_that_is_away(installation: Installation) -> None:
    done = installation.call("doctor", "--no-canary", FLYWHEEL_DATABASE_URL="postgresql://u:secret@127.0.0.1:1/x")
    assert done.returncode == 5
    assert "FAIL  database" in done.stdout
    assert "fix: start it" in done.stdout
    assert "secret" not in done.stdout


def test_model_calls_of_a_run_are_in_its_report_and_foresee_the_next_one(installation: Installation) -> None:
    (installation.folder / "dags" / "sort.yaml").write_text(
        "name: sort\nsteps:\n"
        "  sort: {task: llm.classify, with: {text: my invoice is wrong, labels: [invoice, crash]}}\n"
        "  again: {task: llm.classify, after: [sort], with: {text: it has a crash, labels: [invoice, crash]}}\n"
    )
    done = installation.call("run", "sort", FLYWHEEL_CALL_USD="llm.classify=0.25")
    assert done.returncode == 0, done.stderr
    told = json.loads(installation.call("report", "@last", "--json", FLYWHEEL_CALL_USD="llm.classify=0.25").stdout)
    assert (told["total"]["calls"], told["total"]["models_usd"], told["total"]["tools_usd"]) == (2, 0, 0.5)
    assert told["total"]["workers_usd"] > 0
    assert told["total"]["coordination_usd"] > 0
    (used,) = told["tokens"]
    assert used["tokens"] == used["input"] + used["output"] > 0
    assert {row["part"] for row in told["latency"]} >= {"queue", "body", "coordination", "call"}
    assert told["context"]["utilisation"] is None
    assert "for 2 calls" in installation.call("runs", "show", "@last").stdout
    preview = json.loads(
        installation.call("plan", "preview", "sort", "--json", FLYWHEEL_CALL_USD="llm.classify=0.25").stdout
    )
    assert preview["cost"] == {"usd": 0.5, "low_usd": 0.5, "high_usd": 0.5, "runs": 1, "unknown_steps": []}
    unknown = json.loads(installation.call("plan", "preview", "tiny", "--json").stdout)
    assert unknown["cost"] is None


def test_two_runs_differ_in_what_was_different(installation: Installation) -> None:
    one, other = installation.run("hello"), installation.run("goodbye")
    done = installation.call("runs", "diff", one, other, "--no-durations", "--json")
    found = {(row["about"], row["what"]): (row["a"], row["b"]) for row in json.loads(done.stdout)["items"]}
    assert found.pop(("step tell", "result"))
    assert found == {("inputs", "say"): ("hello", "goodbye"), ("outputs", "said"): ("hello", "goodbye")}
    same = installation.call("runs", "diff", one, "@last", "--no-durations", "--json")
    assert json.loads(same.stdout)["items"] == json.loads(done.stdout)["items"]


def test_an_export_holds_the_whole_run(installation: Installation) -> None:
    big = "x" * 20_000  # an artefact
    run_id = installation.run(big)
    folder = installation.folder / "out"
    assert installation.call("runs", "export", run_id[:-1], "-o", str(folder)).returncode == 0
    about = json.loads((folder / "export.json").read_text())
    assert about["run"] == run_id
    assert about["rows"]["node"] == 1
    assert len(list((folder / "artefacts").iterdir())) == about["artefacts"] > 0
    attempts = [json.loads(line) for line in (folder / "attempt.jsonl").read_text().splitlines()]
    assert [each["outcome"] for each in attempts] == ["ok"]
    assert installation.call("runs", "export", run_id, "-o", str(folder)).returncode == 2, "it is there already"
    archive = installation.folder / "out.tar.gz"
    assert installation.call("runs", "export", "@last", "-o", str(archive)).returncode == 0
    with tarfile.open(archive) as packed:
        assert f"{run_id}/export.json" in packed.getnames()
    lines = installation.call("runs", "export", run_id).stdout.splitlines()
    assert {json.loads(line)["table"] for line in lines} >= {"run", "plan_version", "step", "node", "attempt"}


def test_logs_are_followed_to_the_end_of_the_run(installation: Installation) -> None:
    submitted = installation.call("submit", "tiny", "-p", "say=followed")
    done = installation.call("runs", "logs", submitted.stdout.strip(), "--follow")
    assert done.returncode == 0
    assert "followed" in done.stdout


def test_a_shell_completes_runs_and_plans_without_the_engine(installation: Installation) -> None:
    run_id = installation.run("complete me")
    for words, position, wanted in (
        (f"flywheel runs show {run_id[:6]}", "3", run_id),
        ("flywheel run ti", "2", "tiny"),
        ("flywheel submit dep", "2", "dependency-audit"),
        ("flywheel runs re", "2", "retry"),
    ):
        done = installation.call(_FLYWHEEL_COMPLETE="bash_complete", COMP_WORDS=words, COMP_CWORD=position)
        assert f"plain,{wanted}" in done.stdout.splitlines(), done.stderr
    for shell in ("bash", "zsh", "fish"):
        assert "_FLYWHEEL_COMPLETE" in installation.call("completion", shell).stdout


def test_celerys_own_tools_work_on_this_installation(installation: Installation) -> None:
    done = installation.call("celery", "inspect", "ping")
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("pong") == 2
    refused = installation.call("celery", "worker")
    assert refused.returncode == 2
    assert "flywheel worker" in refused.stderr


def test_a_step_whose_condition_fails_is_named_with_the_reason(installation: Installation) -> None:
    (installation.folder / "dags" / "typo.yaml").write_text(
        "name: typo\nsteps:\n  one: {task: notify.log, with: {message: hello}}\n"
        "  two: {task: notify.log, when: steps.one.output.massage == '', with: {message: none}}\n"
    )
    done = installation.call("run", "typo")
    assert done.returncode == 1, done.stderr
    assert "FAILED=1" in done.stdout
    assert "did you mean 'message'?" in done.stdout
    told = installation.call("runs", "logs", "@last", "--failed")
    assert "two  before it had nodes" in told.stdout
    assert "did you mean 'message'?" in told.stdout


def test_a_run_a_step_and_a_node_are_explained_in_words(installation: Installation) -> None:
    (installation.folder / "dags" / "wide.yaml").write_text(
        "name: wide\ninputs: {numbers: {type: list}, more: {type: boolean, default: false}}\nsteps:\n"
        '  tell: {task: notify.log, for_each: "{{ inputs.numbers }}", with: {message: "{{ item }}"}}\n'
        "  again: {task: notify.log, after: [tell], when: inputs.more, with: {message: again}}\n"
    )
    numbers = json.dumps([str(number) for number in range(400)])
    done = installation.call("run", "wide", "-p", f"numbers={numbers}", "--json")
    assert done.returncode == 0, done.stderr
    told = json.loads(installation.call("explain", "@last", "--json").stdout)
    assert {"run", "chunk", "step"} <= {line["kind"] for line in told["lines"]}
    (size, *_) = (line for line in told["lines"] if line["kind"] == "chunk")
    assert (size["where"], size["figures"]["most"]) == ("tell", 500)
    assert "a message" in size["words"]
    assert sum(each["attempts"] for each in told["attempts"]) == 400
    step = installation.call("explain", "@last", "again")
    assert "waited for tell, which succeeded" in step.stdout
    assert "skipped: condition is false: inputs.more" in step.stdout
    node = installation.call("explain", "@last", "tell[399]")
    assert "after it was ready" in node.stdout or "at once" in node.stdout
    assert "succeeded by attempt 1" in node.stdout
    assert installation.call("explain", "@last", "tell[400]").returncode == 6


def test_kept_results_are_looked_at_where_a_stack_runs_and_where_none_does(
    installation: Installation, tmp_path: Path
) -> None:
    shown = installation.call("cache", "show")
    assert shown.returncode == 0 and "Redis: 0 entries" in shown.stderr, shown.stderr
    alone = Installation(tmp_path)
    assert alone.call("submit", "tiny").returncode == 0, "a database, and no Redis"
    for arguments in (("show",), ("invalidate", "t"), ("clear", "--yes")):
        done = alone.call("cache", *arguments)
        assert done.returncode == 0, done.stderr
    for each in (alone, installation):
        assert each.call("runs", "prune", "--everything-of", "nobody", "--yes").returncode == 0, "kept results as well"
    assert alone.call("cache", "show").stderr.startswith("no Redis runs here")


def test_a_run_that_asks_for_money_says_how_to_answer_and_goes_on_once_it_is(installation: Installation) -> None:
    (installation.folder / "dags" / "dear.yaml").write_text(
        "name: dear\nbudget: {max_calls: 1, on_exhausted: ask}\nsteps:\n"
        "  sort: {task: llm.classify, for_each: [one, two, three], with: {text: '{{ item }}', labels: [a, b]}}\n"
    )
    asks = installation.call("run", "dear", "--json")
    assert asks.returncode == 3, asks.stderr
    told = json.loads(asks.stdout)
    assert told["state"] == "paused" and told["reason"].startswith("waits for approval: the budget of run")
    run = told["run"]
    assert f"flywheel approvals approve {run}" in installation.call("runs", "watch", run).stdout
    looked = installation.call("runs", "show", run).stdout
    assert "of 1 calls left" in looked and f"flywheel approvals approve {run}" in looked
    refused = installation.call("runs", "resume", run)
    assert refused.returncode == 1 and "flywheel approvals approve" in refused.stderr
    [waiting] = json.loads(installation.call("approvals", "list", "--json").stdout)["items"]
    assert waiting["run"] == run
    assert installation.call("approvals", "approve", run, "--max-calls", "2").returncode == 0
    again = installation.call("runs", "watch", run, "--json")
    assert again.returncode == 3 and "waits for approval" in json.loads(again.stdout)["reason"], again.stderr
    assert "of 2 calls left" in installation.call("runs", "show", run).stdout
    assert installation.call("approvals", "reject", run).returncode == 0
    ended = installation.call("runs", "watch", run, "--json")
    assert ended.returncode == 4 and json.loads(ended.stdout)["partial"], ended.stderr


def test_a_rating_of_a_node_of_a_batch_scores_its_own_call_alone(installation: Installation) -> None:
    (installation.folder / "dags" / "sorts.yaml").write_text(
        "name: sorts\nsteps:\n  sort:\n    task: llm.classify\n    batch: {max_items: 10}\n"
        "    for_each: [one, two, three, four, five, six]\n    with: {text: '{{ item }}', labels: [a, b]}\n"
    )
    done = installation.call("run", "sorts", "--json")
    assert done.returncode == 0, done.stderr
    run = json.loads(done.stdout)["run"]
    assert installation.call("runs", "rate", run, "sort[4]", "0.5").returncode == 0
    told = json.loads(installation.call("report", run, "--json").stdout)
    assert [(row["scored"], row["score"]) for row in told["quality"]] == [(1, 0.5)], told["quality"]
