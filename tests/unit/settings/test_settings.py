"""The settings tree: what it takes, what it refuses, what it never shows."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

import settings
from settings import Settings, SettingsError


@pytest.fixture(autouse=True)
def _bare_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in [name for name in os.environ if name.startswith("FLYWHEEL_")]:
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)


def test_defaults_need_no_service_and_live_in_the_current_folder(tmp_path: Path) -> None:
    loaded = settings.load()
    assert loaded.home == tmp_path / ".flywheel"
    assert loaded.database_url == f"sqlite:///{tmp_path}/.flywheel/flywheel.db"
    assert loaded.artefact_url == f"file://{tmp_path}/.flywheel/artefacts"
    assert loaded.redis_url is None
    assert loaded.broker_url is None


def test_every_field_says_what_it_means() -> None:
    bare = [name for name, field in Settings.model_fields.items() if len(field.description or "") < 20]
    assert bare == []


def test_the_environment_wins_over_dotenv(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("FLYWHEEL_IO_SLOTS=3\nFLYWHEEL_CPU_SLOTS=5\nOTHER=1\n")
    monkeypatch.setenv("FLYWHEEL_IO_SLOTS", "4")
    loaded = settings.load()
    assert (loaded.io_slots, loaded.cpu_slots) == (4, 5)


@pytest.mark.parametrize(
    ("variable", "value", "says"),
    [
        ("FLYWHEEL_SHARDS", "abc", "FLYWHEEL_SHARDS=abc: "),
        ("FLYWHEEL_SHARDS", "2", "shards=2 needs Postgres"),
        ("FLYWHEEL_HEARTBEAT_S", "9", "heartbeat_s=9.0 must be at most half of worker_lease_s=10.0"),
        ("FLYWHEEL_RATE_LIMITS", "http.request=10", "'10' is not a rate"),
        ("FLYWHEEL_RATE_LIMITS", "http.request", "'http.request' is not name=value"),
        ("FLYWHEEL_POOLS", '{"db": 0}', "pool 'db' has size 0"),
        ("FLYWHEEL_POOLS", "{broken", "is not JSON"),
        ("FLYWHEEL_QUEUES", "io,Bad Queue", "'Bad Queue' is not a queue name"),
        ("FLYWHEEL_DATABASE_URL", "mysql://h/db", "must begin with sqlite:/// or postgresql://"),
        ("FLYWHEEL_REDIS_URL", "amqp://h", "must begin with redis://, rediss:// or unix://"),
        ("FLYWHEEL_TASK_MODULES", "my-jobs", "'my-jobs' is neither the name of a Python module nor a path"),
        ("FLYWHEEL_LOG_LEVEL", "loud", "FLYWHEEL_LOG_LEVEL=loud: "),
        ("FLYWHEEL_HTTP_ALLOW", "10.0.0.0/99", "'10.0.0.0/99' is neither a host, an address nor a network"),
        ("FLYWHEEL_HTTP_ALLOW", "http://x", "'http://x' is neither a host"),
        ("FLYWHEEL_SQL_CONNECTIONS", "shop=mysql://h/db", "connection 'shop' must begin with sqlite:///"),
        ("FLYWHEEL_SQL_CONNECTIONS", "Shop=sqlite:///x", "'Shop' is not a connection's name"),
        ("FLYWHEEL_NAMESPACE", "a b", "FLYWHEEL_NAMESPACE=a b: "),
    ],
)
def test_a_bad_value_is_named_with_its_field(
    monkeypatch: pytest.MonkeyPatch, variable: str, value: str, says: str
) -> None:
    monkeypatch.setenv(variable, value)
    with pytest.raises(SettingsError) as raised:
        settings.load()
    assert says in str(raised.value)
    assert "\n" not in str(raised.value)
    assert "pydantic" not in str(raised.value)


def test_a_bad_value_in_dotenv_is_named_too(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text('export FLYWHEEL_IO_SLOTS="many"\n')
    with pytest.raises(SettingsError, match="FLYWHEEL_IO_SLOTS=many: "):
        settings.load()


def test_every_bad_value_is_named_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FLYWHEEL_IO_SLOTS", "0")
    monkeypatch.setenv("FLYWHEEL_POLL_S", "never")
    with pytest.raises(SettingsError) as raised:
        settings.load()
    assert len(str(raised.value).splitlines()) == 2


def test_no_secret_is_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FLYWHEEL_DATABASE_URL", "postgresql://me:hidden1@host/db")
    monkeypatch.setenv("FLYWHEEL_REDIS_URL", "rediss://:hidden2@host:6380/0")
    monkeypatch.setenv("FLYWHEEL_ARTEFACT_URL", "s3://bucket?secret=hidden3")
    monkeypatch.setenv("FLYWHEEL_FLOWER_AUTH", "me:hidden4")
    monkeypatch.setenv("FLYWHEEL_SQL_CONNECTIONS", "shop=postgresql://me:hidden5@host/shop")
    loaded = settings.load()
    for shown in (repr(loaded), str(loaded), str(settings.masked(loaded))):
        assert "hidden" not in shown
        assert "host" in shown
    assert "hidden1" in loaded.database_url


def test_no_secret_is_in_the_message_about_a_bad_value(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FLYWHEEL_DATABASE_URL", "mysql://me:hidden@host/db")
    monkeypatch.setenv("FLYWHEEL_FLOWER_AUTH", "hidden")
    monkeypatch.setenv("FLYWHEEL_SQL_CONNECTIONS", "shop=mysql://me:hidden@host/db,a=postgres://b:hidden/x@h/c")
    with pytest.raises(SettingsError) as raised:
        settings.load()
    assert "hidden" not in str(raised.value)


def test_there_is_a_connection_for_the_figures_that_plans_keep(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("FLYWHEEL_SQL_CONNECTIONS", "shop=secret://shop-url")
    connections = settings.load().sql_connections
    assert connections == {"local": f"sqlite:///{tmp_path}/.flywheel/local.db", "shop": "secret://shop-url"}
    assert settings.load(sql_connections={"local": "sqlite:////x.db"}).sql_connections == {"local": "sqlite:////x.db"}


def test_settings_cannot_be_changed() -> None:
    loaded = settings.load()
    with pytest.raises(ValueError, match="frozen"):
        loaded.io_slots = 1  # type: ignore[misc]  # that is the point


def test_a_child_process_loads_the_same_settings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    given = settings.load(
        redis_url="unix:///tmp/r.sock", pools={"db": 4}, task_modules=("tasks", "./my, jobs"), flower_auth="a:b",
        rate_limits={"http.request": "10/s:20"}, home=tmp_path / "elsewhere",
    )  # fmt: skip
    for name, value in settings.as_environment(given).items():
        monkeypatch.setenv(name, value)
    assert settings.load() == given


def test_a_unix_socket_is_spelled_as_kombu_wants_it() -> None:
    assert settings.load(redis_url="unix:///run/r.sock").broker_url == "redis+socket:///run/r.sock"
    assert settings.load(redis_url="redis+socket:///run/r.sock").redis_url == "unix:///run/r.sock"
    assert settings.load(redis_url="redis://h:1/2").broker_url == "redis://h:1/2"


def test_a_misspelled_variable_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FLYWHEEL_IO_SLOT", "4")
    monkeypatch.setenv("FLYWHEEL_SECRET_TOKEN", "x")
    assert settings.likely_misspellings() == {"FLYWHEEL_IO_SLOT": "FLYWHEEL_IO_SLOTS"}


def test_secrets_come_from_the_environment_or_from_files(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "db.password").write_text("from file\n")
    loaded = settings.load(secrets_dir=tmp_path)
    monkeypatch.setenv("FLYWHEEL_SECRET_API_KEY", "from environment")
    assert settings.resolve_secret(loaded, "api-key") == "from environment"
    assert settings.resolve_secret(loaded, "db.password") == "from file"
    assert settings.resolve_secret(loaded, "missing") is None
    assert settings.resolve_secret(loaded, "../db.password") is None


def test_the_environment_is_read_in_settings_only() -> None:
    root = Path(settings.__file__).parent.parent
    reads = re.compile(r"os\.(environ|getenv)")
    files = [*(root / "engine").rglob("*.py"), *(root / "dags").rglob("*.py")]
    guilty = [str(path.relative_to(root)) for path in files if reads.search(path.read_text())]
    assert guilty == []
