"""Opening SQLite: what is refused, what locks, and how a backend's errors come out."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest
from sqlalchemy import text

from engine.errors import Unavailable, UsageError
from engine.store import engines
from engine.store.engines import Database
from engine.store.journal import SqlJournal


@pytest.fixture
def database(tmp_path: Path) -> Database:
    return Database(f"sqlite:///{tmp_path}/deep/er/flywheel.db")


@pytest.mark.parametrize("url", ["sqlite://", "sqlite:///:memory:", "mysql://host/db", "no url"])
def test_a_url_that_cannot_work_is_refused(url: str) -> None:
    with pytest.raises(UsageError, match="database_url"):
        Database(url)


def test_a_password_is_never_shown() -> None:
    assert "secret" not in repr(Database("postgresql://me:secret@localhost/none"))


def test_a_network_filesystem_is_recognised_by_the_longest_mount(tmp_path: Path) -> None:
    mounts = tmp_path / "mountinfo"
    mounts.write_text(
        "21 1 8:1 / / rw - ext4 /dev/sda1 rw\n"
        "22 21 0:40 / /home rw,relatime shared:1 - nfs4 server:/home rw\n"
        "23 22 8:2 / /home/local rw - xfs /dev/sdb rw\n"
    )
    kinds = [engines._filesystem_of(Path(path), mounts) for path in ("/var/x.db", "/home/me/x.db", "/home/local/x.db")]
    assert kinds == ["ext4", "nfs4", "xfs"]
    assert engines._filesystem_of(Path("/x"), tmp_path / "none") is None


def test_sqlite_is_durable_waits_and_keeps_foreign_keys(database: Database) -> None:
    with database.writing("look") as connection:
        told = [connection.execute(text(f"PRAGMA {name}")).scalar() for name in
                ("journal_mode", "synchronous", "busy_timeout", "foreign_keys")]  # fmt: skip
    assert told == ["wal", 2, 30_000, 1]


def test_a_reader_cannot_write_and_does_not_wait_for_a_writer(database: Database) -> None:
    with database.writing("make") as connection:
        connection.execute(text("CREATE TABLE t (n INTEGER)"))
    with database.writing("write") as writer:
        writer.execute(text("INSERT INTO t VALUES (1)"))
        with database.reading("read") as reader:
            assert reader.scalar(text("SELECT count(*) FROM t")) == 0
    with pytest.raises(Unavailable, match=r"read: .*readonly"), database.reading("read") as reader:
        reader.execute(text("INSERT INTO t VALUES (2)"))


def test_a_full_disk_is_unavailable_with_what_was_being_done_and_passes(tmp_path: Path) -> None:
    journal = SqlJournal(f"sqlite:///{tmp_path}/f.db")
    with journal.database.writing("fill") as connection:
        pages = connection.scalar(text("PRAGMA page_count"))
        connection.execute(text(f"PRAGMA max_page_count = {pages}"))
        connection.execute(text("CREATE TEMP TABLE unrelated (n INTEGER)"))
    with (
        pytest.raises(Unavailable, match="submit run r_7: the database cannot serve: database or disk is full"),
        journal.database.writing("submit run r_7") as connection,
    ):
        connection.execute(text("CREATE TABLE big AS SELECT randomblob(1000000) AS b"))
    with journal.database.writing("give room") as connection:
        connection.execute(text("PRAGMA max_page_count = 100000"))
    assert journal.acquire(0, "a", 60) == 1
    journal.close()


def test_a_lock_held_too_long_is_unavailable_and_passes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engines, "BUSY_TIMEOUT_MS", 50)
    url = f"sqlite:///{tmp_path}/f.db"
    first, second = SqlJournal(url), SqlJournal(url)
    with (
        first.database.writing("hold"),
        pytest.raises(Unavailable, match=r"acquire shard 0: .*database is locked"),
    ):
        second.acquire(0, "b", 60)
    assert second.acquire(0, "b", 60) == 1
    first.close()
    second.close()


def test_a_file_that_is_no_database_is_unavailable(tmp_path: Path) -> None:
    (tmp_path / "f.db").write_bytes(b"no database at all" * 100)
    with pytest.raises(Unavailable, match="not a database"):
        SqlJournal(f"sqlite:///{tmp_path}/f.db")


def test_threads_of_a_process_write_one_after_the_other(database: Database) -> None:
    with database.writing("make") as connection:
        connection.execute(text("CREATE TABLE t (n INTEGER)"))
        connection.execute(text("INSERT INTO t VALUES (0)"))

    def add() -> None:
        for _ in range(20):
            with database.writing("add") as connection:
                number = connection.scalar(text("SELECT n FROM t"))
                connection.execute(text("UPDATE t SET n = :n"), {"n": number + 1})

    threads = [threading.Thread(target=add) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with database.reading("read") as connection:
        assert connection.scalar(text("SELECT n FROM t")) == 80


def test_a_forked_child_opens_connections_of_its_own(tmp_path: Path) -> None:
    journal = SqlJournal(f"sqlite:///{tmp_path}/f.db")
    assert journal.acquire(0, "parent", 60) == 1
    child = os.fork()
    if child == 0:
        os._exit(0 if journal.acquire(1, "child", 60) == 1 else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert journal.acquire(1, "parent", 60) is None
    journal.renew(0, 1, 60)
    journal.close()
