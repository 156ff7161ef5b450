"""`micro_batch_size: auto`: the whole global batch, and the next smaller divisor of it each time memory ran out.

Rule: exactness first. A trial that has begun goes on at the size that it has until that fails for itself; what one
trial found out decides only where later ones of the same options begin, and those are exact in themselves.
"""

from __future__ import annotations

from dataclasses import replace

from tuner.config.schema import StudyConfig
from tuner.records import ExecutionSpec, Json, RunSpec, TrialRecord, Value
from tuner.storage.store import NumericsSegment
from tuner.training.memory import OutOfMemory

SIZE = "micro_batch_size"
_Options = tuple[tuple[str, Value], ...]


def smaller(size: int, global_batch_size: int) -> int | None:
    """The largest divisor of the global batch that is at most half of `size`; None below one example.

    >>> [smaller(size, 12) for size in (12, 6, 3, 1)]
    [6, 3, 1, None]
    """
    return next((n for n in range(size // 2, 0, -1) if global_batch_size % n == 0), None)


class MicroBatches:
    """What one worker knows of the sizes that fit."""

    def __init__(self, config: StudyConfig) -> None:
        self.is_auto = config.execution.micro_batch_size == "auto"
        self._of_options: dict[_Options, int] = {}
        self._of_trial: dict[int, int] = {}

    def fitted(
        self, execution: ExecutionSpec, trial: TrialRecord, segments: tuple[NumericsSegment, ...]
    ) -> ExecutionSpec:
        """`execution` with the size for a trial, whose numerics so far are `segments`."""
        if not self.is_auto:
            return execution
        size = self._of_options.get(_options(trial.spec), execution.micro_batch_size)
        if segments:
            size = int(segments[-1].segment[SIZE])
        return replace(execution, micro_batch_size=self._of_trial.get(trial.trial, size))

    def goes_on(self, numerics: dict[str, Json], segments: tuple[NumericsSegment, ...]) -> bool:
        """Whether a trial may go on with these numerics after others that differ in the size alone."""
        own = {**numerics, SIZE: None}
        return self.is_auto and all({**segment.segment, SIZE: None} == own for segment in segments)

    def halve(self, trial: TrialRecord, size: int) -> int | None:
        """The size with which a trial goes on after memory ran out at `size`; None if there is none to try."""
        less = smaller(size, trial.spec.global_batch_size) if self.is_auto else None
        if less is not None:
            self._of_trial[trial.trial] = less
            self._of_options[_options(trial.spec)] = min(less, self._of_options.get(_options(trial.spec), less))
        return less


def remedy(error: OutOfMemory, config: StudyConfig) -> str:
    """One line for a trial that memory ended: what ran out, at which setting, and what to do."""
    if error.doing == "evaluation":
        return f"{error} with evaluation.batch_size={error.size}; use a smaller one"
    if config.execution.micro_batch_size == "auto":
        return (
            f"{error} with micro-batches of {error.size}, the smallest for execution.micro_batch_size=auto; use a "
            "smaller model or shorter examples, or fewer execution.workers on one device"
        )
    return (
        f"{error} with execution.micro_batch_size={error.size}; use a smaller divisor of "
        f"training.global_batch_size={config.training.global_batch_size}, or auto, which halves it when memory runs out"
    )


def _options(spec: RunSpec) -> _Options:
    return (("precision", spec.precision), ("optimizer", spec.optimizer.name), *sorted(spec.workload_options.items()))
