"""Which kind of workload is this? Stated, known before any step, or found by the sweep; a decision with numbers.

After the playbook's "Determining the number of steps for each training run" (PROTOCOL 1): what can be trained as long
as one wants ends with a fit; what saturates ends where it stops moving; what would improve for ever ends with patience.
"""

from __future__ import annotations

from typing import Final, Literal

from tuner.analysis.saturation import Movement
from tuner.config.kind_rules import has_length
from tuner.config.resolve import perfect_fit
from tuner.config.schema import StudyConfig
from tuner.protocol.runs import number_in
from tuner.protocol.words import epochs, json_safe, number, steps
from tuner.records import Decision, FitRule, Json, StudyRecord, TrialRecord, WorkloadFacts

WorkloadKind = Literal["not_compute_bound", "compute_bound", "saturated"]

KIND: Final = "workload_kind"
_SWEEP: Final = "budget_sweep"


def kind_decision(kind: WorkloadKind, reason: str, numbers: dict[str, Json]) -> Decision:
    """The kind of workload, and why."""
    text = f"{kind}: {reason} (playbook, Determining the number of steps for each training run)."
    return Decision(kind=KIND, phase=_SWEEP, reason=text, numbers=json_safe({"kind": kind, **numbers}))


def decided_kind(study: StudyRecord) -> Decision | None:
    """The last decision on the kind; None while it is open."""
    return next((decision for decision in reversed(study.decisions) if decision.kind == KIND), None)


def is_compute_bound(study: StudyRecord) -> bool:
    """Whether patience sets the length: round 1 is then judged and reported, never adjusted."""
    return _is(study, "compute_bound")


def is_saturated(study: StudyRecord) -> bool:
    """Whether the training metric was found to stop moving before it was perfect."""
    return _is(study, "saturated")


def kind_before_training(config: StudyConfig, facts: WorkloadFacts) -> Decision | None:
    """The kind, where no step is needed to know it: stated, or less than one epoch; None if the sweep is to find it.

    A threshold that the user stated is looked for all the same. So is the default one, while nothing gives a length.
    """
    if config.workload_kind == "compute_bound":
        return kind_decision("compute_bound", "as workload_kind states", {"stated": True})
    longest, examples = config.budget.max_steps, facts.num_train_examples
    is_under_an_epoch = longest * config.training.global_batch_size < examples
    is_fit_stated = config.budget.perfect_fit is not None
    if config.workload_kind != "auto" or not is_under_an_epoch or is_fit_stated:
        return None
    if perfect_fit(config) is not None and not has_length(config):
        return None
    told = epochs(longest, config.training.global_batch_size, facts)
    reason = f"budget.max_steps={longest} is under one epoch ({told}), so that no example is seen twice"
    return kind_decision("compute_bound", reason, {"max_steps": longest, "num_train_examples": examples})


def sweep_fit(config: StudyConfig, facts: WorkloadFacts) -> FitRule | None:
    """What the sweep's trials stop at; None where only the end of movement, or of patience, ends it."""
    return None if kind_before_training(config, facts) else perfect_fit(config)


def fitted(fit: FitRule, num_steps: int) -> Decision:
    """A rate reached the threshold."""
    return kind_decision(
        "not_compute_bound",
        f"the training set was fitted (train {fit.metric} at most {fit.at_most:g}) within {steps(num_steps)}",
        {"steps_to_fit": num_steps, "metric": fit.metric, "at_most": fit.at_most},
    )


def still_improving(config: StudyConfig, metric: str, *, leader: TrialRecord, moved: Movement | None) -> Decision:
    """The longest run allowed neither fitted nor saturated."""
    told = "too few evaluations tell whether it saturates"
    numbers: dict[str, Json] = {"metric": metric, "max_steps": config.budget.max_steps}
    if moved is not None:
        told = (
            f"{number(moved.before)} at half of them, {number(moved.level)} at their end, a gain of "
            f"{number(moved.gain)} where 2 % are {number(moved.needed)}"
        )
        if moved.is_hidden:
            told += f", and noise alone gives up to {number(moved.chance)}: it hides whether it has come to rest"
        numbers |= {"before": moved.before, "level": moved.level, "gain": moved.gain, "needed": moved.needed}
    rate = number_in(leader.params, "learning_rate", leader.spec.learning_rate)
    longest, reached = config.budget.max_steps, leader.last_step
    where = f"budget.max_steps={longest}" if reached >= longest else f"{steps(reached)}, where the hours end the sweep"
    reason = f"train {metric} still improves at {where} ({told}; learning_rate {number(rate)})"
    return kind_decision("compute_bound", reason, numbers)


def _is(study: StudyRecord, kind: WorkloadKind) -> bool:
    decision = decided_kind(study)
    return decision is not None and decision.numbers.get("kind") == kind
