"""How schedulers and workers log: one form for every line, structlog's and the standard library's alike.

Lines go to standard error. Secrets are masked in every text of a line, tracebacks included. Must be
called once, at a process's start; whoever embeds the engine and has handlers of its own keeps them.
"""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import MutableMapping
from typing import Any

import structlog
from structlog.typing import Processor

from engine.runtime.masking import Masker
from settings import Settings

# Three lines a message of Celery's own say nothing that reports do not.
_NOISY = ("celery", "kombu", "amqp")


def set_up_logging(settings: Settings, masker: Masker | None = None, **facts: str) -> None:
    """Log as ``log_level`` and ``log_format`` say.

    Parameters
    ----------
    masker
        What this process knows of secrets; by default only what looks like one is masked.
    facts
        What every line says of its process, besides its pid: a worker's name.
    """
    as_json = settings.log_format == "json" or (settings.log_format == "auto" and not sys.stderr.isatty())
    before = _before(facts)
    structlog.configure(
        processors=[structlog.stdlib.filter_by_level, *before, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
    )
    root = logging.getLogger()
    level = logging.getLevelName(settings.log_level.upper())
    if not root.handlers:
        handler = logging.StreamHandler(sys.stderr)
        handler.setFormatter(_formatter(as_json, before, masker or Masker()))
        root.addHandler(handler)
        root.setLevel(level)
    for name in _NOISY:
        logging.getLogger(name).setLevel(max(level, logging.WARNING))


def _before(facts: dict[str, str]) -> list[Processor]:
    def add_facts(_: Any, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
        event.update(facts, pid=os.getpid())  # asked each time: a forked child is another process
        return event

    return [
        structlog.contextvars.merge_contextvars,
        add_facts,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.PositionalArgumentsFormatter(),
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]


def _formatter(as_json: bool, before: list[Processor], masker: Masker) -> logging.Formatter:
    def mask(_: Any, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
        return {key: _masked(key, value, masker) for key, value in event.items()}

    renderer: Processor = structlog.processors.JSONRenderer(ensure_ascii=False)
    if not as_json:
        renderer = structlog.dev.ConsoleRenderer(
            colors=sys.stderr.isatty(), exception_formatter=structlog.dev.plain_traceback
        )
    return structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=before,
        processors=[
            structlog.stdlib.ProcessorFormatter.remove_processors_meta,
            structlog.processors.format_exc_info,
            mask,
            renderer,
        ],
    )


def _masked(key: str, value: Any, masker: Masker) -> Any:
    if value is None or isinstance(value, bool | int | float):
        return value
    # With its name in front, because what is a secret is often known by that only.
    return masker.mask(f"{key}={value}").removeprefix(f"{key}=")
