"""What one invocation of the command line shares: its settings, loaded once, and its client."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import click

from engine.errors import NotFound

if TYPE_CHECKING:
    from engine.api.client import Client
    from settings import Settings


class NothingHere(NotFound):
    """No installation was begun here, so there is nothing to read."""


class Session:
    """Made at the start of each invocation; loads nothing until a command asks."""

    def __init__(self, settings: Settings | None = None) -> None:
        self._given = settings

    @cached_property
    def settings(self) -> Settings:
        """The settings in force. Raises ``SettingsError``."""
        if self._given is not None:
            return self._given
        from settings import likely_misspellings, load, missing_plan_folders  # lazy: pydantic

        for name, meant in likely_misspellings().items():
            click.echo(f"warning: {name} is no setting; did you mean {meant}?", err=True)
        settings = load()
        for folder in missing_plan_folders(settings):
            click.echo(f"warning: FLYWHEEL_PLAN_PATHS names {folder}, which is no folder", err=True)
        return settings

    @contextmanager
    def client(self, *, making: bool = False) -> Iterator[Client]:
        """A client, closed at the end.

        Parameters
        ----------
        making
            Whether an installation may be begun here: folders and a database made. Only a command that
            stores something new asks for that.

        Raises
        ------
        NothingHere
            There is no installation here yet, and none is to be made.
        Unavailable
            The database cannot be reached.
        """
        if not making:
            self._expect_database()
        from engine.api.client import Client  # lazy: sqlmodel

        with Client(self.settings) as client:
            yield client

    def _expect_database(self) -> None:
        url = self.settings.database_url
        if url.startswith("sqlite:///"):
            file = Path(url.removeprefix("sqlite:///").partition("?")[0])
            if not file.exists():
                raise NothingHere(f"there is no run yet: no database {file}; the first `flywheel run PLAN` makes it")
