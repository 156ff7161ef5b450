"""Patience with what passes by itself: a database that others lock, a server that restarts, a disk that is full.

The one rule: only what certainly left no trace is done again. Each kind of trouble has one minute, whoever meets it,
and is told once; after that nobody waits for it until it has worked again.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import TypeVar

from tuner.errors import TryAgainLater

PATIENCE_SECONDS = 60.0
PAUSE_SECONDS = 1.0

T = TypeVar("T")


class Patience:
    """Does again what could not be done now. Safe to use from several threads.

    `on_wait` hears in one line what is waited for; `is_over` says that nobody wants to wait any more.
    """

    def __init__(
        self, *, on_wait: Callable[[str], None] = lambda line: None, is_over: Callable[[], bool] = lambda: False
    ) -> None:
        self.on_wait, self.is_over = on_wait, is_over
        self._since: dict[str, float] = {}
        self._noting = threading.Lock()

    def __call__(self, action: Callable[[], T], *, of: str) -> T:
        """What `action` returns, once it works. `of` names the trouble that it may meet.

        Raises:
            TryAgainLater: from `action`, when the time is over or it may have left a trace.
        """
        while True:
            try:
                done = action()
            except TryAgainLater as error:
                self._pause(error, of=of)
            else:
                if self._since:
                    self._since.pop(of, None)
                return done

    def work(self, action: Callable[[], T]) -> T:
        """Do again a whole piece of work that meets a full disk, or a server that goes away in its midst."""
        return self(action, of="work")

    def _pause(self, error: TryAgainLater, *, of: str) -> None:
        with self._noting:
            is_new = of not in self._since
            since = self._since.setdefault(of, time.monotonic())
        if not error.may_repeat or self.is_over() or time.monotonic() - since > PATIENCE_SECONDS:
            error.may_repeat = False
            raise error
        if is_new:
            self.on_wait(f"{str(error).partition(';')[0]}; waiting for at most {PATIENCE_SECONDS:.0f} s")
        time.sleep(PAUSE_SECONDS)
