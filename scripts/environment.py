"""Make .venv hold exactly what a requirements file pins, and this project. Standard library only.

Called by environment.sh when its stamp is stale. Two at once are safe: the second waits and finds
the work done. The stamp is written last, so that an interrupted set-up is done again.
"""

from __future__ import annotations

import fcntl
import subprocess
import sys
import time
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
PYTHON = VENV / "bin" / "python"
# What installing a set makes ready: the development set holds everything of the runtime set.
CONTAINS = {"runtime": ("runtime",), "dev": ("runtime", "dev")}


def main(kind: str, stamp: str) -> int:
    with (ROOT / ".venv.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if _stamp_file(kind).is_file() and _stamp_file(kind).read_text() == stamp and PYTHON.exists():
            return 0
        return _prepare(kind, stamp)


def _prepare(kind: str, stamp: str) -> int:
    started = time.monotonic()
    verb = "updating" if _works() else "making"
    print(f"flywheel: {verb} .venv from requirements/{kind}.txt ...", file=sys.stderr, flush=True)
    for other in CONTAINS["dev"]:
        _stamp_file(other).unlink(missing_ok=True)
    if verb == "making":
        venv.create(VENV, clear=True, with_pip=True)
    requirements = ROOT / "requirements" / f"{kind}.txt"
    # The files are complete, so nothing is left to resolve; hashes hold each download to what was reviewed.
    steps = (
        ["--require-hashes", "--no-deps", "-r", str(requirements)],
        # compat: one line in a .pth file; the default's import hook costs each start of Python 20 ms.
        ["--no-deps", "--no-build-isolation", "--config-settings", "editable_mode=compat", "--editable", str(ROOT)],
    )
    for arguments in steps:
        code = _pip(arguments)
        if code:
            return code
    for other in CONTAINS[kind]:
        # The stamp of a set names its own file; see environment.sh.
        _stamp_file(other).write_text(stamp if other == kind else _cksum(other))
    print(f"flywheel: .venv ready in {time.monotonic() - started:.0f} s", file=sys.stderr)
    return 0


def _works() -> bool:
    return PYTHON.exists() and subprocess.run([PYTHON, "-c", "import pip"], capture_output=True).returncode == 0


def _pip(arguments: list[str]) -> int:
    command = [str(PYTHON), "-m", "pip", "--disable-pip-version-check", "--no-input", "-q", "install", *arguments]
    finished = subprocess.run(command, capture_output=True, text=True)
    if finished.returncode:
        print(finished.stdout, finished.stderr, sep="", end="", file=sys.stderr)
        print(
            "flywheel: pip failed, see above. It needs a package index (PyPI or the one of pip.conf).", file=sys.stderr
        )
    return finished.returncode


def _stamp_file(kind: str) -> Path:
    return VENV / f".ready-{kind}"


def _cksum(kind: str) -> str:
    files = [ROOT / "requirements" / f"{kind}.txt", ROOT / "pyproject.toml"]
    return subprocess.run(["cksum", *files], capture_output=True, text=True, check=True).stdout.rstrip("\n")


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
