"""A worker's idle clock: runs while there is nothing to train, and is stored now and then.

Rule: it costs a transaction only after seconds of idleness, and when the worker leaves; never one for each trial.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

STORE_EVERY_SECONDS = 5.0
"""Idle seconds that a kill may lose."""


class IdleClock:
    """Adds up the time inside `running`; `store` hears the total."""

    def __init__(self, store: Callable[[float], None]) -> None:
        self._store, self._total, self._stored = store, 0.0, 0.0

    @contextmanager
    def running(self) -> Iterator[None]:
        """The worker waits, for a trial or for word of one."""
        began = time.perf_counter()
        try:
            yield
        finally:
            self._total += time.perf_counter() - began

    def store_at_times(self) -> None:
        """Store the total if it has grown by much."""
        if self._total - self._stored >= STORE_EVERY_SECONDS:
            self.store_now()

    def store_now(self) -> None:
        """Store the total if it has grown."""
        if self._total > self._stored:
            self._store(self._total)
            self._stored = self._total
