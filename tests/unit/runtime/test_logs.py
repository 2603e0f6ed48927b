"""The lines of a process, in the form that the settings say."""

from __future__ import annotations

import json
import subprocess
import sys

_PROGRAM = """
import logging, structlog
from engine.runtime.logs import set_up_logging
from engine.runtime.masking import Masker
from settings import load
masker = Masker()
masker.add("swordfish-7")
set_up_logging(load(log_format={form!r}, log_level="info"), masker, worker="w@h")
structlog.contextvars.bind_contextvars(shard=3, epoch=5)
structlog.get_logger("a.b").info("it.happened", count=2, password="hunter-22", url="redis://u:pw-99@h/")
logging.getLogger("c.d").warning("old style %s with %s", "line", "swordfish-7")
logging.getLogger("c.d").debug("not to be seen")
logging.getLogger("celery.x").info("nor this")
try:
    raise ValueError("refused swordfish-7")
except ValueError:
    logging.getLogger("c.d").exception("broken")
"""


def _said(form: str) -> str:
    ended = subprocess.run([sys.executable, "-c", _PROGRAM.format(form=form)], capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout == ""
    for secret in ("swordfish", "hunter", "pw-99"):
        assert secret not in ended.stderr
    assert "not to be seen" not in ended.stderr and "nor this" not in ended.stderr
    return ended.stderr


def test_json_lines_say_who_where_and_when() -> None:
    for form in ("json", "auto"):  # nobody sits before a pipe
        first, second, third = [json.loads(line) for line in _said(form).splitlines()]
        assert (first["event"], first["count"], first["logger"], first["level"]) == ("it.happened", 2, "a.b", "info")
        assert second["event"].startswith("old style line with ")
        assert "ValueError" in third["exception"]
        for line in (first, second, third):
            assert (line["worker"], line["shard"], line["epoch"]) == ("w@h", 3, 5)
            assert line["pid"] > 0 and line["timestamp"].endswith("Z")


def test_text_lines_are_for_people() -> None:
    said = _said("text")
    assert "it.happened" in said and "worker=w@h" in said and "shard=3" in said
    assert "Traceback" in said
    assert not said.lstrip().startswith("{")
