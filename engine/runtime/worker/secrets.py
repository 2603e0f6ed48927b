"""Secrets: ``secret://name`` in a step's arguments, resolved here in the worker and nowhere else.

Only strings that were written so in the plan are resolved. Data that says ``secret://…``, an input
or another step's output, stays text: otherwise whoever supplies data could name any secret.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from engine.errors import Permanent
from engine.runtime.masking import Masker
from settings import Settings, resolve_secret

_SCHEME = "secret://"


class Secrets:
    """Looks secrets up, and has every one masked that it hands out."""

    def __init__(self, settings: Settings, masker: Masker) -> None:
        self._settings = settings
        self._masker = masker

    def get(self, name: str) -> str:
        """The text of secret ``name``. Raises ``Permanent`` if there is none."""
        text = resolve_secret(self._settings, name)
        if text is None:
            raise Permanent(
                # No colon after the name: logs mask what follows one, as if it were the secret.
                f"there is no secret {name!r} where workers run; set FLYWHEEL_SECRET_{name.upper()} there, or put a "
                "file of that name into FLYWHEEL_SECRETS_DIR"
            )
        self._masker.add(text)
        return text


def resolve(written: Any, rendered: Any, get: Callable[[str], str]) -> Any:
    """``rendered`` with secrets in place of the strings that ``written``, the plan's tree, has as references."""
    if isinstance(written, str):
        named = written.startswith(_SCHEME) and isinstance(rendered, str) and rendered.startswith(_SCHEME)
        return get(rendered[len(_SCHEME) :]) if named else rendered
    if isinstance(written, dict) and isinstance(rendered, dict):
        return {key: resolve(written[key], value, get) if key in written else value for key, value in rendered.items()}
    if isinstance(written, list) and isinstance(rendered, list) and len(written) == len(rendered):
        return [resolve(was, now, get) for was, now in zip(written, rendered, strict=True)]
    return rendered
