"""Training as a stream of events: the loop yields and never stores.

The one rule: what the consumer does with an event, and when the loop evaluates or asks for a checkpoint, changes no
weight. At one step `Evaluated` comes before `CheckpointDue`.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Container, Iterable, Iterator
from dataclasses import dataclass
from typing import Protocol

from tuner.analysis.averages import averaged_split
from tuner.records import TRAIN_SAMPLE, UPDATES, VALIDATION, Evaluation


class Updates(Protocol):
    """What the loop needs of a run: see `TrainingRun`."""

    @property
    def global_step(self) -> int: ...

    @property
    def seconds(self) -> dict[str, float]: ...

    @property
    def num_skipped_updates(self) -> int: ...

    def update(self) -> None: ...

    def is_finite(self) -> bool: ...

    def evaluate(self, split: str) -> dict[str, float]: ...

    def evaluate_averages(self) -> dict[int, dict[str, float]]: ...

    def gradient_summary(self) -> dict[str, float]: ...


class Watches(Protocol):
    """Looks on while a run trains: see `Monitor`."""

    def after_update(self) -> None: ...

    def after_evaluation(self, evaluations: Iterable[Evaluation]) -> None: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluated:
    """All metrics of the training sample and of validation at one step, and what the updates up to it were like.

    Validation is measured with the averaged weights too. A horizon with a value that is not finite is left out: what
    ends a run are its own weights, and an average may still hold what they have left behind.
    """

    global_step: int
    evaluations: tuple[Evaluation, ...]
    num_skipped_updates: int


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckpointDue:
    """A step of `checkpoint_steps` was reached; the consumer saves."""

    global_step: int


@dataclass(frozen=True, slots=True, kw_only=True)
class NonFinite:
    """A training loss since the start, or an evaluation, is NaN or infinite; the loop ends.

    Looked for at evaluation steps only: where it is found does not depend on when the run was interrupted.
    """

    global_step: int
    what: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Interrupted:
    """`interrupted()` was true before the next update; the loop ends and the consumer may save."""

    global_step: int


Event = Evaluated | CheckpointDue | NonFinite | Interrupted


def train(
    run: Updates,
    *,
    until: int,
    eval_steps: Container[int],
    checkpoint_steps: Container[int],
    interrupted: Callable[[], bool] = lambda: False,
    monitor: Watches | None = None,
) -> Iterator[Event]:
    """Train `run` up to `global_step == until`, yielding what happens; `run.seconds` keeps the accounts.

    On CUDA updates are queued: their time is accounted where the host waits for them.
    """
    while run.global_step < until:
        if interrupted():
            yield Interrupted(global_step=run.global_step)
            return
        started = time.perf_counter()
        run.update()
        run.seconds["train"] += time.perf_counter() - started
        step = run.global_step
        if monitor is not None:
            monitor.after_update()
        if step in eval_steps:
            event = _evaluate(run, monitor)
            yield event
            if isinstance(event, NonFinite):
                return
        if step in checkpoint_steps:
            yield CheckpointDue(global_step=step)


def _evaluate(run: Updates, monitor: Watches | None) -> Evaluated | NonFinite:
    step = run.global_step
    if not run.is_finite():
        return NonFinite(global_step=step, what="training loss")
    started = time.perf_counter()
    evaluations = tuple(
        Evaluation(step, split, metric, value)
        for split in (TRAIN_SAMPLE, VALIDATION)
        for metric, value in run.evaluate(split).items()
    )
    run.seconds["eval"] += time.perf_counter() - started
    broken = [e for e in evaluations if not math.isfinite(e.value)]
    if broken:
        return NonFinite(global_step=step, what=f"{broken[0].split} {broken[0].metric}")
    started = time.perf_counter()
    evaluations += _of_averages(run)
    run.seconds["eval"] += time.perf_counter() - started
    evaluations += tuple(Evaluation(step, UPDATES, metric, value) for metric, value in run.gradient_summary().items())
    if monitor is not None:
        monitor.after_evaluation(evaluations)
    return Evaluated(global_step=step, evaluations=evaluations, num_skipped_updates=run.num_skipped_updates)


def _of_averages(run: Updates) -> tuple[Evaluation, ...]:
    return tuple(
        Evaluation(run.global_step, averaged_split(horizon), metric, value)
        for horizon, values in run.evaluate_averages().items()
        if all(map(math.isfinite, values.values()))
        for metric, value in values.items()
    )
