"""What a phase's trials will really train: their steps without those that runs of the study have trained before them.

The closed form of PROTOCOL 8, from the runs alone: a run goes on from the latest state kept of another one that it
agrees with up to there. It prices phases against the study's hours; what is trained is decided by recipe keys.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from tuner.protocol.measured import NOTHING_MEASURED, Measured
from tuner.records import OpenPhase, RunSpec, ScheduleSpec, StudyRecord, TrialPlan

_PLATEAU = ("constant", "warmup_stable_decay")


@dataclass(frozen=True, slots=True, kw_only=True)
class Price:
    """Updates that a phase adds to what stands: of all its trials, and of the one that adds most."""

    steps: int
    longest: int


def price_of(study: StudyRecord, move: OpenPhase, measured: Measured = NOTHING_MEASURED) -> Price:
    """What a phase adds; points that the search has yet to propose share nothing."""
    full = [trial.spec.max_train_steps for trial in move.trials]
    new = [
        *(new_steps(study, move.trials) if measured.shares else full),
        *[move.plan.max_train_steps] * move.num_points,
    ]
    return Price(steps=sum(new), longest=max(new, default=0))


def new_steps(study: StudyRecord, trials: Iterable[TrialPlan]) -> list[int]:
    """The updates of each trial that neither the study nor a trial before it has, nor will have, trained."""
    known: dict[str, list[tuple[RunSpec, int]]] = {}
    for trial in study.trials():
        reached = trial.last_step if trial.is_ended or trial.state == "paused" else trial.spec.max_train_steps
        known.setdefault(_trunk(trial.spec), []).append((trial.spec, reached))
    new = []
    for plan in trials:
        others = known.setdefault(_trunk(plan.spec), [])
        shared = max((_shared(plan.spec, other, reached) for other, reached in others), default=0)
        new.append(plan.spec.max_train_steps - shared)
        others.append((plan.spec, plan.spec.max_train_steps))
    return new


def _trunk(spec: RunSpec) -> str:
    """What two runs must agree in to share a plateau."""
    kind = "warmup_stable_decay" if spec.schedule.kind in _PLATEAU else spec.schedule.kind
    trunk = ScheduleSpec(kind=kind, warmup_steps=spec.schedule.warmup_steps)
    return repr(replace(spec, max_train_steps=0, schedule=trunk, eval_every_steps=1, fork_steps=()))


def _shared(spec: RunSpec, other: RunSpec, reached: int) -> int:
    """The latest state kept of another run, as far as that got, from which a run can go on."""
    if (spec.max_train_steps, spec.schedule) == (other.max_train_steps, other.schedule):
        return min(reached, spec.max_train_steps)
    prefix = min(_plateau_end(spec), _plateau_end(other), reached)
    kept = (*other.fork_steps, _plateau_end(other), reached)
    return max((step for step in kept if step <= prefix), default=0)


def _plateau_end(spec: RunSpec) -> int:
    """The last update that a longer run shares: the first one of a decay, as one at the peak, is at the full rate."""
    schedule = spec.schedule
    if schedule.kind not in _PLATEAU:
        return min(schedule.warmup_steps + 1, spec.max_train_steps)
    return spec.max_train_steps - max(0, schedule.decay_steps - 1)
