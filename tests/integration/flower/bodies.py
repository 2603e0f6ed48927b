"""Bodies with something to hide."""

from __future__ import annotations

import time
from pathlib import Path

from engine.authoring import task


@task("flower.keep", effects="none", queue="io")
def keep(payload: str, key: str, release: str) -> str:
    """Hold a payload and a secret until the file ``release`` is there; give the payload back."""
    while not Path(release).exists():
        time.sleep(0.02)
    return payload + key


@task("flower.spill", effects="none", queue="io")
def spill(payload: str, key: str) -> None:
    """Fail with everything in the message, as careless code does."""
    raise ValueError(f"cannot use {payload} with {key}")
