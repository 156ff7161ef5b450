"""The one table from our outcomes to Optuna's states (D6).

Infeasible is told as PRUNED, never as FAIL: a FAIL is invisible to TPE, which would ask for the same region for ever.
To the in-memory study that proposals come from it is told as COMPLETE with a violated constraint, since GP reads
nothing else.
"""

from __future__ import annotations

from dataclasses import dataclass

from optuna.trial import TrialState

from tuner.records import TrialRecord


@dataclass(frozen=True, slots=True)
class OptunaEnd:
    """How an ended trial appears in Optuna: its state, and the objective where Optuna takes one."""

    state: TrialState
    value: float | None


_STATES = {
    "complete": TrialState.COMPLETE,
    "infeasible": TrialState.PRUNED,
    "stopped": TrialState.PRUNED,
    "crashed": TrialState.FAIL,
}


def optuna_end(trial: TrialRecord) -> OptunaEnd:
    """The Optuna state and value of an ended trial; the value is the best one, as the retrospective choice is ours."""
    assert trial.outcome is not None
    state = _STATES[trial.outcome.kind]
    if state is TrialState.COMPLETE and trial.best_value is None:
        return OptunaEnd(TrialState.FAIL, None)
    return OptunaEnd(state, trial.best_value if state is TrialState.COMPLETE else None)


@dataclass(frozen=True, slots=True)
class SamplerEnd:
    """How an ended trial appears to a sampler; a positive constraint is a violated one."""

    state: TrialState
    value: float
    constraint: float


def sampler_end(trial: TrialRecord, *, worst: float) -> SamplerEnd | None:
    """What TPE and GP learn of an ended trial; None for one that says nothing of its point: a crash.

    An infeasible trial has no value of its own: it is given `worst`, the worst of the feasible ones, so that neither a
    surrogate bends nor its good values before it diverged attract.
    """
    assert trial.outcome is not None
    if trial.outcome.kind == "complete" and trial.best_value is not None:
        return SamplerEnd(TrialState.COMPLETE, trial.best_value, -1.0)
    if trial.outcome.kind in ("infeasible", "stopped"):
        return SamplerEnd(TrialState.COMPLETE, worst, 1.0)
    return None
