"""A context as a worker would give it, with settings that allow only the test's own folder."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import settings
from engine.plan.binding import bind, dump
from engine.plan.local import local_context
from engine.plan.tasktype import TaskContext

Run = Callable[..., Any]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "root"
    folder.mkdir()
    return folder


@pytest.fixture
def context(root: Path, tmp_path: Path) -> TaskContext:
    chosen = settings.load(home=tmp_path / "home", file_roots=(root,), file_write_roots=(root,), shell_allowed=True)
    return replace(local_context("node"), settings=chosen)


@pytest.fixture
def run(context: TaskContext) -> Run:
    """Runs a task as a worker does: plain data in, validated, plain data out."""

    def run_task(task: Any, *, given: TaskContext | None = None, **arguments: Any) -> Any:
        task_type = task.task_type
        result = task_type.function(**bind(task_type, arguments, given or context))
        return dump(task_type, asyncio.run(result) if inspect.iscoroutine(result) else result)

    return run_task
