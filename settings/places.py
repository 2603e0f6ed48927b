"""Settings that say where things are: state, database, Redis, artefacts, plans, tasks."""

from __future__ import annotations

import sqlite3
import sys
import sysconfig
from pathlib import Path

from pydantic import BaseModel, Field, field_validator
from pydantic_core.core_schema import ValidationInfo

from settings.forms import Names, Paths

_SHIPPED = Path(__file__).resolve().parent.parent
_REDIS_SCHEMES = ("redis://", "rediss://", "unix://")
_DATABASE_SCHEMES = ("sqlite://", "postgresql://", "postgresql+psycopg://", "postgres://")


def _system_folders() -> tuple[Path, ...]:
    """Where a Unix system keeps its logs and its own backups, there or not yet."""
    return (Path("/var/log").resolve(),)


def _python_libraries() -> tuple[Path, ...]:
    """Where Python distributions are installed here: this environment, its base, the system's."""
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    candidates = [
        Path(sysconfig.get_path("purelib")),
        Path(sysconfig.get_path("platlib")),
        Path(sys.base_prefix, "lib", version, "site-packages"),
        Path("/usr/lib/python3/dist-packages"),
        Path("/usr/local/lib", version, "dist-packages"),
    ]
    return tuple(dict.fromkeys(path.resolve() for path in candidates if path.is_dir()))


class Places(BaseModel):
    """Where things are."""

    home: Path = Field(
        default=Path(".flywheel"),
        description="Folder for the state of the embedded stack: database, Redis, artefacts, logs. Relative to the "
        "current folder, because a project's runs belong to the project.",
    )
    database_url: str = Field(
        default="",
        validate_default=True,
        description="Where runs are journaled: sqlite:///PATH or postgresql://USER:PASSWORD@HOST/NAME. Default: "
        "flywheel.db in home, which needs no server; take Postgres for several hosts or a hot standby.",
    )
    redis_url: str | None = Field(
        default=None,
        description="Redis 6.2 or later: redis://, rediss:// or unix:///PATH/TO.sock. None: `flywheel run` and "
        "`flywheel up` start a private one on a Unix socket.",
    )
    artefact_url: str = Field(
        default="",
        validate_default=True,
        description="Where results above 16 KiB are kept: any fsspec address (file://, s3://, gs://). Default: "
        "artefacts in home. Every worker and scheduler must reach the same one.",
    )
    namespace: str = Field(
        default="flywheel",
        pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$",
        description="Prefix of every key in Redis, so that installations can share a server.",
    )
    plan_paths: Paths = Field(
        default=(Path("dags"), _SHIPPED / "dags"),
        description="Folders in which plans are looked up by name; the first that has it wins. Default: ./dags, then "
        "what ships.",
    )
    task_modules: Names = Field(
        default=("tasks",),
        description="What is imported at a worker's start to register task types: modules (shop.jobs), files or "
        "folders (./jobs/mail.py). Only these: an explicit list, because importing a module runs its code.",
    )
    file_roots: Paths = Field(
        default_factory=lambda: (Path.cwd(), *_python_libraries(), *_system_folders()),
        description="Folders under which the file tasks may read. Default: the current folder, and what the shipped "
        "plans read: where Python distributions are installed, and /var/log.",
    )
    file_write_roots: Paths = Field(
        default_factory=lambda: (Path.cwd(),),
        description="Folders under which the file tasks may write. Narrower than file_roots: whoever can write among "
        "installed packages can run code.",
    )
    economy: Path | None = Field(
        default=None,
        description="YAML file that says what models there are, what they cost, what may be spent and what is kept. "
        "None: the models and prices that ship, and no limits.",
    )
    secrets_dir: Path | None = Field(
        default=None,
        description="Folder whose files hold secrets, one each, named as in secret://NAME. None: secrets come from "
        "FLYWHEEL_SECRET_NAME only.",
    )

    @field_validator("home", "secrets_dir", "economy")
    @classmethod
    def _absolute(cls, path: Path | None) -> Path | None:
        return None if path is None else path.expanduser().absolute()

    @field_validator("plan_paths", "file_roots", "file_write_roots")
    @classmethod
    def _all_absolute(cls, paths: tuple[Path, ...]) -> tuple[Path, ...]:
        return tuple(dict.fromkeys(path.expanduser().absolute() for path in paths))

    @field_validator("database_url")
    @classmethod
    def _database(cls, url: str, info: ValidationInfo) -> str:
        if not url:
            return f"sqlite:///{info.data.get('home', Path('.flywheel').absolute())}/flywheel.db"
        if not url.startswith(_DATABASE_SCHEMES):
            raise ValueError("must begin with sqlite:/// or postgresql://")
        if url.startswith("sqlite://") and sqlite3.sqlite_version_info < (3, 35):
            raise ValueError(f"needs SQLite 3.35 or later, this Python carries {sqlite3.sqlite_version}")
        scheme, rest = url.split("://", 1)
        # SQLAlchemy takes bare postgresql:// for psycopg2, which is not installed.
        return f"postgresql+psycopg://{rest}" if scheme in ("postgres", "postgresql") else url

    @field_validator("artefact_url")
    @classmethod
    def _artefacts(cls, url: str, info: ValidationInfo) -> str:
        return url or f"file://{info.data.get('home', Path('.flywheel').absolute())}/artefacts"

    @field_validator("redis_url")
    @classmethod
    def _redis(cls, url: str | None) -> str | None:
        if not url:
            return None
        if url.startswith("redis+socket://"):  # kombu's spelling of the same thing
            url = "unix://" + url.removeprefix("redis+socket://")
        if not url.startswith(_REDIS_SCHEMES):
            raise ValueError("must begin with redis://, rediss:// or unix://")
        return url

    @field_validator("task_modules")
    @classmethod
    def _modules(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        for name in names:
            is_path = "/" in name or name.startswith(".") or name.endswith(".py")
            if not is_path and not all(part.isidentifier() for part in name.split(".")):
                raise ValueError(f"{name!r} is neither the name of a Python module nor a path such as ./jobs")
        return names

    @property
    def broker_url(self) -> str | None:
        """``redis_url`` in kombu's spelling; ``None`` while no Redis is known."""
        if self.redis_url is not None and self.redis_url.startswith("unix://"):
            return "redis+socket://" + self.redis_url.removeprefix("unix://").replace("?db=", "?virtual_host=")
        return self.redis_url
