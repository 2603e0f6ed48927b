"""The one error of settings, apart from the rest so that catching it imports nothing heavy."""

from __future__ import annotations


class SettingsError(ValueError):
    """A setting does not hold; the message has one line for each, with field and value."""
