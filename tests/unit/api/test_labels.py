"""What a submission may be called."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import settings
from engine.api.client import Client
from engine.errors import UsageError

PLAN = """
name: read
steps: {read: {task: files.read, with: {path: a.txt}}}
"""


@pytest.fixture
def client(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Client:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "read.yaml").write_text(PLAN)
    return Client(settings.load())


@pytest.mark.parametrize(
    "wrong",
    [
        {"priority": 10**30},
        {"session": ""},
        {"tenant": "two\nlines"},
        {"tags": ["x" * 500]},
        {"idempotency_key": "\x00"},
    ],
)
def test_a_label_that_fits_no_list_is_refused(client: Client, wrong: dict[str, Any]) -> None:
    with client, pytest.raises(UsageError):
        client.submit("read.yaml", **wrong)


def test_ordinary_labels_are_kept(client: Client) -> None:
    with client:
        run = client.run(client.submit("read.yaml", session="Nächte", tenant="acme", tags=["a b"], priority=-3))
        assert (run.session, run.tenant, run.tags, run.priority) == ("Nächte", "acme", ("a b",), -3)
