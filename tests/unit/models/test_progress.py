"""What is seen of a call while it runs."""

from __future__ import annotations

import time

from engine.models.progress import Progress


def test_a_character_that_came_in_two_halves_is_whole_and_a_lone_half_can_be_stored() -> None:
    progress = Progress(lambda: False, time.monotonic() + 60)
    for piece in ("a\ud83d", "\ude00b", "\ud83d"):
        progress.wrote(piece)
    assert progress.text == "a\U0001f600b\ufffd"
    assert progress.text.encode()
