"""Redis is lost: what SQL kept comes back, and nothing of it that may be stale."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import update
from structlog.testing import capture_logs

from engine.api import caching as operating
from engine.cache.cache import Made
from engine.runtime.reloading import Reloading, keep_reloading
from engine.scheduling.records import Noted
from engine.store.caching import overview
from engine.store.columns import CACHE_ENTRY
from engine.store.journal import SqlJournal
from settings import Settings, load
from tests.integration.cache.conftest import Rig, key
from tests.services.stack import until


class Installation(Rig):
    """A rig whose notes are journaled when a test says so."""

    def __init__(self, rig: Rig, folder: Path) -> None:
        super().__init__(rig.server, folder)
        self.journal = SqlJournal(f"sqlite:///{folder}/flywheel.db")
        self._epoch = self.journal.acquire(0, "test", 60.0) or 0
        self.reloading = Reloading(self.journal.database, self.shelf().index, 1 << 20, self.shelf().clock.now)
        self.reloading.look()

    def commit(self) -> None:
        self.journal.commit(0, self._epoch, [Noted("r_1", 0, 0, 1, tuple(self.notes))])
        self.notes.clear()

    def close(self) -> None:
        super().close()
        self.journal.close()


@pytest.fixture
def here(rig: Rig, tmp_path: Path) -> Iterator[Installation]:
    made = Installation(rig, tmp_path)
    yield made
    made.close()


def test_what_was_journaled_comes_back_after_a_flush(here: Installation) -> None:
    cache = here.cache()
    cache.fetch(key("bare"), lambda: Made("x" * 50_000, 7))
    cache.fetch(key("tagged"), lambda: Made(1), tags=["t"])
    here.commit()
    cache.fetch(key("untold"), lambda: Made(1))
    here.server.flush()
    assert here.reloading.look() == 2
    assert here.reloading.look() is None, "once for each loss"
    found = cache.fetch(key("bare"), lambda: Made("made again"))
    assert (found.value, found.outcome, found.saved_nusd) == ("x" * 50_000, "hit", 7)
    assert cache.fetch(key("tagged"), lambda: Made(2), tags=["t"]).outcome == "hit"
    assert cache.fetch(key("untold"), lambda: Made(2)).outcome == "miss"


def test_what_a_journaled_write_made_stale_does_not_come_back(here: Installation) -> None:
    cache = here.cache()
    cache.fetch(key("one"), lambda: Made(1), tags=["t"])
    cache.fetch(key("two"), lambda: Made(1), tags=["u"])
    cache.written(["t"])
    here.commit()
    here.server.flush()
    assert here.reloading.look() == 1
    assert cache.fetch(key("one"), lambda: Made(2), tags=["t"]).value == 2
    assert cache.fetch(key("two"), lambda: Made(2), tags=["u"]).value == 1


def test_what_is_written_before_the_reload_is_stale_after_it(here: Installation) -> None:
    cache = here.cache()
    cache.fetch(key(), lambda: Made(1), tags=["t"])
    here.commit()
    here.server.flush()
    cache.written(["t"])
    assert here.reloading.look() == 0
    assert cache.fetch(key(), lambda: Made(2), tags=["t"]).value == 2


def test_what_came_back_becomes_stale_like_any_other(here: Installation) -> None:
    cache = here.cache()
    cache.fetch(key(), lambda: Made(1), tags=["t"])
    here.commit()
    here.server.flush()
    here.reloading.look()
    cache.written(["t"])
    here.commit()
    assert cache.fetch(key(), lambda: Made(2), tags=["t"]).value == 2
    here.notes.clear()
    here.server.flush()
    assert here.reloading.look() == 0, "also after the next loss"


def test_operators_make_tags_stale_and_clear_for_good(here: Installation) -> None:
    database, index = here.journal.database, here.shelf().index
    for tenant in ("a", "b"):
        here.cache(tenant).fetch(key(tenant=tenant), lambda: Made(1), tags=["t"])
    here.commit()
    assert operating.invalidate(database, index, "a", []) == 0
    assert operating.invalidate(database, index, "a", ["t"]) == 1
    here.server.flush()
    assert here.reloading.look() == 1, "that of the other tenant"
    assert operating.clear(database, index, "b") == 1
    here.server.flush()
    assert here.reloading.look() == 0
    assert [each.tenant for each in overview(database, 0.0)] == ["a"]
    assert operating.clear(database, index, None) == 0


def test_what_is_invalidated_while_no_redis_runs_does_not_come_back(here: Installation) -> None:
    cache, database = here.cache(), here.journal.database
    cache.fetch(key("old"), lambda: Made(1), tags=["t"])
    cache.fetch(key("other"), lambda: Made(2), tags=["u"])
    here.commit()
    with operating.open_index(Settings(), None) as index:
        assert index is None
        assert operating.invalidate(database, index, "a", ["t"]) == 1
    here.server.flush()
    assert here.reloading.look() == 1
    assert cache.fetch(key("old"), lambda: Made(3), tags=["t"]).outcome == "miss"
    assert cache.fetch(key("other"), lambda: Made(3), tags=["u"]).outcome == "hit"
    here.commit()
    assert operating.clear(database, None, "a") == 3
    here.server.flush()
    assert here.reloading.look() == 0


def test_the_look_for_a_lost_redis_outlives_what_it_cannot_read(here: Installation, tmp_path: Path) -> None:
    here.cache().fetch(key(), lambda: Made(1), tags=["t"])
    here.commit()
    _set_tags(here, "[")
    here.server.flush()
    database = f"sqlite:///{tmp_path}/flywheel.db"
    settings = load(redis_url=here.server.url, namespace="t", database_url=database, home=tmp_path / "home")
    stop = threading.Event()
    looking = threading.Thread(target=keep_reloading, args=(settings, stop))
    with capture_logs() as lines:
        looking.start()
        try:
            until(lambda: lines or not looking.is_alive(), 20.0, "a look that fails")
            _set_tags(here, '["t"]')
            until(lambda: lines[-1:] == [_RELOADED] or not looking.is_alive(), 20.0, "the look after it")
        finally:
            stop.set()
            looking.join()
    assert lines[-1] == _RELOADED
    assert lines[0]["log_level"] == "error", "a bug, and to be seen as one"


_RELOADED = {"entries": 1, "event": "cache.reloaded", "log_level": "info"}


def _set_tags(here: Installation, tags: str) -> None:
    with here.journal.database.writing("say what an entry rests on") as connection:
        connection.execute(update(CACHE_ENTRY).values(tags=tags))
