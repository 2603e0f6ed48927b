"""The answer to a report is read once, by whoever comes first, and a lost one has the report sent again."""

from __future__ import annotations

from engine.errors import Unavailable
from engine.runtime.worker.reports import UNREAD_S, Unread


def test_an_answer_is_read_once() -> None:
    said: list[str] = []
    unread = Unread(lambda: said.append("read"), lambda: said.append("again"))
    unread.settle()
    unread.settle()
    assert said == ["read"]


def test_a_report_without_an_answer_is_sent_again() -> None:
    said: list[str] = []

    def lost() -> None:
        raise Unavailable("gone")

    Unread(lost, lambda: said.append("again")).settle()
    assert said == ["again"]


def test_the_thread_aside_reads_it_in_a_moment_and_not_at_once() -> None:
    said: list[str] = []
    unread = Unread(lambda: said.append("read"), lambda: said.append("again"))
    assert unread.soon() == UNREAD_S
    assert said == []
    assert unread.soon() is None
    assert said == ["read"]
