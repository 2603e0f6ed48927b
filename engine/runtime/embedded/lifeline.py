"""A child's end of the pipe that breaks when its parent dies, however it dies."""

from __future__ import annotations

import os
import signal
import threading
import time


def follow_parent(descriptor: int, grace_s: float) -> None:
    """Stop this process when the other end of ``descriptor`` closes.

    First as SIGTERM does; after ``grace_s`` seconds the whole process group is killed, because
    pool processes hold on to their pipes and would stay behind.
    """
    os.set_inheritable(descriptor, False)  # noqa: FBT003 - the standard library takes it by position only
    threading.Thread(target=_follow, args=(descriptor, grace_s), name="lifeline", daemon=True).start()


def _follow(descriptor: int, grace_s: float) -> None:
    os.read(descriptor, 1)  # nothing is ever written: this returns when the parent is gone
    if signal.getsignal(signal.SIGTERM) != signal.SIG_DFL:  # its default would end us before our children
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(grace_s)
    os.killpg(os.getpgrp(), signal.SIGKILL)
