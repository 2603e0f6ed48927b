"""What one invocation of the command line shares: its settings, loaded once, and its client."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from engine.api.client import Client
    from settings import Settings


class Session:
    """Made at the start of each invocation; loads nothing until a command asks."""

    def __init__(self, settings: Settings | None = None) -> None:
        self._given = settings

    @cached_property
    def settings(self) -> Settings:
        """The settings in force. Raises ``SettingsError``."""
        if self._given is not None:
            return self._given
        from settings import likely_misspellings, load  # lazy: pydantic

        for name, meant in likely_misspellings().items():
            click.echo(f"warning: {name} is no setting; did you mean {meant}?", err=True)
        return load()

    @contextmanager
    def client(self) -> Iterator[Client]:
        """A client, closed at the end. Raises ``Unavailable``."""
        from engine.api.client import Client  # lazy: sqlmodel

        with Client(self.settings) as client:
            yield client
