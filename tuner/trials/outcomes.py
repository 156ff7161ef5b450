"""The one table from our outcomes to Optuna's states (D6).

Infeasible is told as PRUNED, never as FAIL: a FAIL is invisible to TPE, which would ask for the same region for ever.
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
