"""What a running study shows on stderr: its decisions as they fall, and how far the open phase is."""

from __future__ import annotations

import time
from contextlib import suppress
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn

from tuner.cli.plain import plain
from tuner.engines.progress import Snapshot
from tuner.records import Decision

PLAIN_EVERY_SECONDS = 10.0

SLOW = 10.0
"""Steps per second below which a whole number would say too little."""


class Watcher:
    """Decisions as lines; progress as a live bar on a terminal, as a line now and then elsewhere."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._bar: Progress | None = None
        self._task: TaskID | None = None
        self._said = time.monotonic()

    def __enter__(self) -> Self:
        if self._console.is_terminal:
            columns = (TextColumn("{task.description}"), BarColumn(bar_width=None), TextColumn("{task.fields[detail]}"))
            self._bar = Progress(*columns, console=self._console, transient=True)
            self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            with suppress(OSError, ValueError):
                self._bar.stop()

    def decided(self, decision: Decision) -> None:
        where = decision.phase or "study"
        self._say(f"[{where}] {decision.kind.replace('_', ' ')}: {decision.reason}")

    def warned(self, message: str) -> None:
        for line in message.splitlines():
            self._say(f"tuner: warning: {line}")

    def progressed(self, snapshot: Snapshot) -> None:
        if self._bar is not None:
            if self._task is None:
                self._task = self._bar.add_task("", total=1, detail="")
            self._bar.update(
                self._task,
                description=snapshot.phase,
                completed=snapshot.steps_done,
                total=max(snapshot.steps_total, 1),
                detail=_detail(snapshot),
            )
        elif time.monotonic() - self._said >= PLAIN_EVERY_SECONDS:
            self._said = time.monotonic()
            self._say(f"{snapshot.phase}: {_detail(snapshot)}")

    def _say(self, line: str) -> None:
        """A study goes on when nobody can read what it says: its records are in the database."""
        with suppress(OSError, ValueError):
            self._console.print(plain(line), soft_wrap=True)


def _detail(snapshot: Snapshot) -> str:
    left = snapshot.seconds_left
    parts = [
        f"{snapshot.num_ended}/{snapshot.num_trials} trials",
        f"{snapshot.steps_done:,}/{snapshot.steps_total:,} steps",
    ]
    if left is not None:
        speed = snapshot.steps_per_second
        parts.append(f"{speed:,.0f} steps/s" if speed >= SLOW else f"{speed:.2g} steps/s")
        parts.append(f"at most {_duration(left)} left in this phase")
    return ", ".join(parts)


def _duration(seconds: float) -> str:
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours}h {minutes:02}m"
    return f"{minutes}m {rest:02}s" if minutes else f"{rest}s"
