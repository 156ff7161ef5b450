"""Writes a trial's checkpoints beside its training, one after the other.

The one rule: training goes on while a file is written, never while another waits: at most one is under way, so that
what is lost in a crash stays bounded, and its errors reach whoever asks for the next.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import Self


class CheckpointWriter:
    """A thread of its own for the `with` block, at whose end nothing is under way."""

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="checkpoints")
        self._under_way: Future[None] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # The error that ends the block is the one to tell.
        self._thread.shutdown(wait=True)
        if error is None:
            self.wait()

    def begin(self, write: Callable[[], None]) -> None:
        """Start a write once the one before it is done.

        Raises:
            whatever the one before raised; then this one is not begun.
        """
        self.wait()
        self._under_way = self._thread.submit(write)

    def wait(self) -> None:
        """Until what was begun is done.

        Raises:
            whatever it raised; told once.
        """
        under_way, self._under_way = self._under_way, None
        if under_way is not None:
            under_way.result()
