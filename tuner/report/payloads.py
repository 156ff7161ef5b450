"""The machine-readable faces of a study: what `--json` prints and `answer.json` holds. Keys and their order are stable.

Plain dictionaries of JSON values from stored records; nothing here is computed a second time.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from tuner.records import Answer, PhaseRecord, StudyRecord, TrialRecord
from tuner.report.plain import plain_json

STEP_ACCOUNTS = ("requested", "executed", "shared", "recomputed", "overshoot", "stage_tree")
TIME_ACCOUNTS = ("train", "eval", "checkpoint", "setup")


def as_text(payload: Any) -> str:
    """JSON for people and programs: NaN is refused, keys keep their order, what does not print is escaped."""
    return plain_json(json.dumps(payload, indent=2, ensure_ascii=False, allow_nan=False))


def status_payload(study: StudyRecord, bill: Mapping[str, Any]) -> dict[str, Any]:
    """`tuner status NAME --json`."""
    return {
        "study": study.name,
        "state": study.state,
        "answer": answer_fields(study.answer),
        "phases": [_phase_payload(phase) for phase in study.phases],
        **bill_payload(bill),
    }


def bill_payload(bill: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """The accounts of steps and of seconds (PROTOCOL.md 8)."""
    seconds = bill.get("seconds", {})
    return {
        "steps": {account: bill.get(account, 0) for account in STEP_ACCOUNTS},
        "seconds": {account: seconds.get(account, 0.0) for account in TIME_ACCOUNTS},
    }


def answer_fields(answer: Answer | None) -> dict[str, Any] | None:
    """The answer as `tuner status --json` shows it."""
    if answer is None:
        return None
    return {
        "max_train_steps": answer.max_train_steps,
        "verdict": answer.verdict,
        "best_trial": answer.best_trial,
        "best_step": answer.best_step,
        "best_value": answer.best_value,
        "metric": answer.metric,
        "params": dict(answer.params),
        "sharing": answer.sharing,
        "weights": answer.weights,
        "averaged": None if answer.averaged is None else asdict(answer.averaged),
    }


def answer_payload(
    study: StudyRecord,
    so_far: Answer | None,
    *,
    why: list[str],
    caveats: Sequence[str] = (),
    isolation: Sequence[str] = (),
) -> dict[str, Any]:
    """`tuner answer NAME --json` and `answer.json`; `best_so_far` while there is no answer yet."""
    fields = answer_fields(study.answer)
    if study.answer is not None and fields is not None:
        fields["test_value"] = study.answer.test_value
    return {
        "study": study.name,
        "state": study.state,
        "answer": fields,
        "best_so_far": None if study.answer is not None else answer_fields(so_far),
        "why": why,
        "caveats": list(caveats),
        "isolation": list(isolation),
    }


def trials_payload(study: StudyRecord) -> list[dict[str, Any]]:
    """`tuner trials NAME --json`: every trial in order of phase and number."""
    return [trial_payload(trial) for trial in study.trials()]


def trial_payload(trial: TrialRecord) -> dict[str, Any]:
    """One trial; `outcome` is null until it ended, `weights_digest` is of the weights at `last_step`."""
    outcome, fork = trial.outcome, trial.forked_from
    return {
        "trial": trial.trial,
        "phase": trial.phase,
        "number": trial.number,
        "params": dict(trial.params),
        "outcome": None if outcome is None else outcome.kind,
        "reason": None if outcome is None else outcome.reason,
        "max_train_steps": trial.spec.max_train_steps,
        "last_step": trial.last_step,
        "best_step": trial.best_step,
        "first_good_step": trial.first_good_step,
        "best_value": trial.best_value,
        "last_value": trial.last_value,
        "num_evals": trial.num_evals,
        "num_skipped_updates": trial.num_skipped_updates,
        "forked_from": None if fork is None else {"trial": fork.trial, "step": fork.step},
        "steps_executed": trial.steps_executed,
        "weights_digest": trial.weights_digest,
    }


def _phase_payload(phase: PhaseRecord) -> dict[str, Any]:
    outcomes = Counter(trial.outcome.kind for trial in phase.trials if trial.outcome is not None)
    return {
        "name": phase.name,
        "max_train_steps": phase.plan.max_train_steps,
        "num_trials": len(phase.trials),
        "outcomes": dict(sorted(outcomes.items())),
        "verdict": phase.verdict,
        "reason": phase.reason,
    }
