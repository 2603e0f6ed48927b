"""What is seen of one call while it runs, and how it is cut off.

A provider's client writes what arrives; whoever pays reads it, also after the call was cut. No network here.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any, TypeVar

T = TypeVar("T")

_POLL_S = 0.05
_LONGER_S = 5.0


class CallCut(Exception):  # noqa: N818 - reads better without Error, as those of engine.errors do
    """The call was cut off: ``stopped`` by its attempt, else out of time."""

    def __init__(self, stopped: bool) -> None:
        super().__init__("the attempt was told to stop" if stopped else "out of time")
        self.stopped = stopped


class Progress:
    """What arrived so far.

    Parameters
    ----------
    stop
        Whether the attempt was told to stop.
    until
        Monotonic second at which the call is out of time.
    """

    def __init__(self, stop: Callable[[], bool], until: float) -> None:
        self._stop, self._until = stop, until
        self.sent = False
        self.pieces: list[str] = []
        self.usage: dict[str, Any] = {}
        self.started_at = time.monotonic()
        self.first_token_s: float | None = None
        self._abort: Callable[[], object] | None = None
        self._cut: CallCut | None = None

    @property
    def text(self) -> str:
        """What the model wrote so far; a half of a character that came without its other half is a question mark."""
        text = "".join(self.pieces)
        try:
            text.encode()
        except UnicodeEncodeError:  # JSON may carry one, in two pieces or cut off; storage and hashes cannot
            text = text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
        return text

    @property
    def left_s(self) -> float:
        """Seconds until it is out of time, at least a hundredth."""
        return max(0.01, self._until - time.monotonic())

    @property
    def patience_s(self) -> float:
        """Seconds that its connection may wait: a little longer, so that it is always the call that ends first."""
        return self.left_s + _LONGER_S

    def wrote(self, piece: str) -> None:
        """A piece arrived. Raises ``CallCut`` if it is not wanted any more."""
        if piece and self.first_token_s is None:
            self.first_token_s = time.monotonic() - self.started_at
        self.pieces.append(piece)
        self.check()

    def used(self, usage: Mapping[str, Any] | None) -> None:
        """The provider told what was used; later counts replace earlier ones."""
        self.usage.update({name: value for name, value in (usage or {}).items() if value is not None})

    def check(self) -> None:
        """Raise ``CallCut`` if the call is to end."""
        if self._cut is None and self._stop():
            self._cut = CallCut(stopped=True)
        if self._cut is None and time.monotonic() >= self._until:
            self._cut = CallCut(stopped=False)
        if self._cut is not None:
            raise self._cut

    def abort_with(self, abort: Callable[[], object]) -> None:
        """How another thread ends the call while it waits for a byte."""
        self._abort = abort

    @property
    def cut(self) -> CallCut | None:
        """Why it was cut off; ``None`` if it was not."""
        return self._cut

    def give_up(self) -> None:
        """Nobody waits for it any more: end it where it waits for a byte, as soon as it can be."""
        self._cut = self._cut or CallCut(stopped=False)
        if self._abort is not None:
            with suppress(Exception):  # the connection may be gone just now, which is what was wanted
                self._abort()


def supervised(call: Callable[[], T], progress: Progress) -> T:
    """Whatever ``call`` returns, made on a thread of its own, so that it can be left while it waits for a byte.

    Raises
    ------
    CallCut
        It is stopped or out of time. What arrived is in ``progress``; the connection is given up.
    """
    done = threading.Event()
    ended: list[tuple[T | None, BaseException | None]] = []

    def run() -> None:
        try:
            ended.append((call(), None))
        except BaseException as error:  # noqa: BLE001 - raised again where the call was made
            ended.append((None, error))
        finally:
            done.set()

    threading.Thread(target=run, name="model call", daemon=True).start()
    try:
        while not done.wait(_POLL_S):
            progress.check()
    finally:  # also when the body is interrupted from without
        if not done.is_set():
            progress.give_up()
    result, error = ended[0]
    if error is not None:
        raise error
    return result  # type: ignore[return-value]  # there is no error, so that it is what the call returned
