"""How far the open phase is, and how fast it goes: numbers for whoever draws them."""

from __future__ import annotations

import time
from collections import deque
from dataclasses import dataclass

from tuner.records import StudyRecord, TrialRecord

WINDOW_SECONDS = 20.0
"""Speed is taken over this much of the recent past ..."""

MIN_EVENTS = 8
"""... and over at least so many words of workers: where an evaluation is far from the next, two are not enough."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """The open phase at one moment. `steps_total` is an upper bound: trials may end early."""

    phase: str
    num_ended: int
    num_trials: int
    steps_done: int
    steps_total: int
    steps_per_second: float

    @property
    def seconds_left(self) -> float | None:
        left = self.steps_total - self.steps_done
        return left / self.steps_per_second if self.steps_per_second > 0 else None


class Speedometer:
    """Keeps the step of every running trial, as workers tell it."""

    def __init__(self) -> None:
        self._steps: dict[int, int] = {}
        self._past: deque[tuple[float, int]] = deque()
        self._executed = 0

    def at_step(self, trial: int, step: int) -> bool:
        """Note a trial's step; True if the trial is new."""
        is_new = trial not in self._steps
        self._executed += max(0, step - self._steps.get(trial, step))
        self._steps[trial] = step
        now = time.monotonic()
        self._past.append((now, self._executed))
        while len(self._past) > MIN_EVENTS and now - self._past[0][0] > WINDOW_SECONDS:
            self._past.popleft()
        return is_new

    def snapshot(self, record: StudyRecord) -> Snapshot | None:
        """The state of the open phase, or None when none is open; a probe is inside its round, which is open too."""
        phase = next((phase for phase in reversed(record.phases) if not phase.is_closed), None)
        if phase is None:
            return None
        done = [self._step_of(trial) for trial in phase.trials]
        total = [
            step if trial.is_ended else trial.spec.max_train_steps
            for trial, step in zip(phase.trials, done, strict=True)
        ]
        return Snapshot(
            phase=phase.name,
            num_ended=sum(trial.state in ("ended", "paused") for trial in phase.trials),
            num_trials=len(phase.trials),
            steps_done=sum(done),
            steps_total=sum(total),
            steps_per_second=self._speed(),
        )

    def _step_of(self, trial: TrialRecord) -> int:
        return trial.last_step if trial.is_ended else max(trial.last_step, self._steps.get(trial.trial, 0))

    def _speed(self) -> float:
        if len(self._past) < 2:
            return 0.0
        (first, before), (last, after) = self._past[0], self._past[-1]
        return (after - before) / (last - first) if last > first else 0.0
