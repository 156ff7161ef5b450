"""`instability_probe`: does training blow up early, where ordinary evaluations are too far apart to see it?

After the playbook's "How can optimization failures be debugged and mitigated?": a short run at twice the best rate that
is evaluated at every step (PROTOCOL 6). If it is unstable, longer warmups are tried at that rate, shortest first. It
only measures, between the sweep and round 1, and no later round takes anything from it.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from math import ceil
from statistics import median
from typing import Final

from tuner.analysis.divergence import largest_rise
from tuner.analysis.instability import CONSTANT_AFTER, Warmup, ends_like_a_constant, warmups_to_try
from tuner.config.resolve import plain_eval_spec
from tuner.config.schema import StudyConfig
from tuner.protocol.generations import CUT
from tuner.protocol.instability import CITED
from tuner.protocol.runs import sweep_trial, warmup_steps
from tuner.protocol.words import json_safe, number, steps
from tuner.records import (
    TRAIN_SAMPLE,
    UPDATES,
    AddTrials,
    ClosePhase,
    Decision,
    EvalSpec,
    Json,
    Move,
    OpenPhase,
    PhasePlan,
    PhaseRecord,
    StudyRecord,
    TrialPlan,
    TrialRecord,
    Wait,
    WorkloadFacts,
)

INSTABILITY_PROBE: Final = "instability_probe"
PROBE_STEPS: Final = 500
RATE_FACTOR: Final = 2
MOST_EVALUATIONS: Final = 500
"""Every step is evaluated; where a warmup makes a run longer than this, every second, third, ... (ours)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Probed:
    """What the probe is of: the budget that the sweep derived, and the best rate, of which it takes twice."""

    budget: int
    best_rate: float


def advance_instability_probe(
    config: StudyConfig, facts: WorkloadFacts, study: StudyRecord, *, of: Probed
) -> Move | None:
    """The next move of the early probe; None if none was asked for, or it is done, or the warmup fills the budget."""
    present = warmup_steps(config, config.budget.first_guess_steps)
    if not config.budget_sweep.probe_instability or present >= of.budget:
        return None
    phase = next((phase for phase in study.phases if phase.plan.kind == INSTABILITY_PROBE), None)
    if phase is None:
        return _open(config, facts, of)
    if phase.is_closed:
        return None
    if not all(trial.is_ended for trial in phase.trials):
        return Wait()
    latest, tried = phase.trials[-1], len(phase.trials) - 1
    warmups = warmups_to_try(of.budget, longer_than=present)
    is_unstable = latest.outcome is not None and latest.outcome.kind == "infeasible"
    if is_unstable and tried < len(warmups) and not _is_cut(study):
        return _try(config, facts, phase, of=of, warmup=warmups[tried])
    return _close(study, phase, of=of, warmups=warmups, constant_loss=facts.constant_loss)


def _is_cut(study: StudyRecord) -> bool:
    """Whether it was decided that no longer warmup is tried, for want of hours."""
    return any((decision.kind, decision.phase) == (CUT, INSTABILITY_PROBE) for decision in study.decisions)


def planned_steps(config: StudyConfig, budget: int) -> tuple[int, int]:
    """Updates of the probe itself, and of the longest warmup that may be tried after it."""
    present = warmup_steps(config, config.budget.first_guess_steps)
    longest = max((w.warmup_steps for w in warmups_to_try(budget, longer_than=present)), default=present)
    return _length(budget, present), _length(budget, longest)


def probe_eval_spec(config: StudyConfig) -> EvalSpec:
    """What is measured at every step: one evaluation batch of the training sample and of validation, to be cheap."""
    spec, batch = plain_eval_spec(config), config.evaluation.batch_size
    capped = batch if spec.max_validation_examples is None else min(batch, spec.max_validation_examples)
    return replace(spec, num_train_examples=min(batch, spec.num_train_examples), max_validation_examples=capped)


def _length(budget: int, warmup: int) -> int:
    """Long enough to see the constant part after the warmup, and never beyond the budget."""
    return min(budget, max(PROBE_STEPS, (1 + CONSTANT_AFTER) * warmup))


def _trial(config: StudyConfig, facts: WorkloadFacts, *, of: Probed, number: int, warmup: int) -> TrialPlan:
    length, rate = _length(of.budget, warmup), float(f"{RATE_FACTOR * of.best_rate:.6g}")
    plan = sweep_trial(config, facts, number=number, learning_rate=rate, max_train_steps=length)
    spec = replace(
        plan.spec,
        schedule=replace(plan.spec.schedule, warmup_steps=warmup),
        eval_every_steps=ceil(length / MOST_EVALUATIONS),
    )
    params = plan.params if number == 0 else {**plan.params, "warmup_steps": warmup}
    return replace(plan, params=params, spec=spec)


def _open(config: StudyConfig, facts: WorkloadFacts, of: Probed) -> OpenPhase:
    present = warmup_steps(config, config.budget.first_guess_steps)
    trial = _trial(config, facts, of=of, number=0, warmup=present)
    rate, length = trial.spec.learning_rate, trial.spec.max_train_steps
    reason = (
        f"Early probe: {steps(length)} at learning_rate {number(rate)}, twice {number(of.best_rate)}, evaluated at "
        f"every step on one batch, after the present warmup of {steps(present)}{CITED}"
    )
    numbers = {"learning_rate": rate, "best_rate": of.best_rate, "max_train_steps": length, "warmup_steps": present}
    decision = Decision(kind="probe_opened", phase=INSTABILITY_PROBE, reason=reason, numbers=json_safe(numbers))
    plan = PhasePlan(
        name=INSTABILITY_PROBE, kind=INSTABILITY_PROBE, max_train_steps=length, eval=probe_eval_spec(config)
    )
    return OpenPhase(plan=plan, trials=(trial,), decisions=(decision,))


def _try(config: StudyConfig, facts: WorkloadFacts, phase: PhaseRecord, *, of: Probed, warmup: Warmup) -> AddTrials:
    latest = phase.trials[-1]
    trial = _trial(config, facts, of=of, number=len(phase.trials), warmup=warmup.warmup_steps)
    reason = (
        f"Early probe: unstable after a warmup of {steps(latest.spec.schedule.warmup_steps)} ({_how(latest)}): one of "
        f"{steps(warmup.warmup_steps)} is tried at the same rate, constant for twice as long after it{CITED}"
    )
    numbers = {**asdict(warmup), "learning_rate": trial.spec.learning_rate}
    decision = Decision(kind="warmup_tried", phase=phase.name, reason=reason, numbers=json_safe(numbers))
    return AddTrials(phase=phase.name, trials=(trial,), decisions=(decision,))


def _close(
    study: StudyRecord, phase: PhaseRecord, *, of: Probed, warmups: tuple[Warmup, ...], constant_loss: float | None
) -> ClosePhase:
    probe, latest = phase.trials[0], phase.trials[-1]
    verdict, told = _verdict(study, probe)
    losses = study.curve(probe.trial, TRAIN_SAMPLE, "loss")
    if verdict == "stable" and constant_loss is not None and ends_like_a_constant(losses, constant_loss):
        told += f"; but it learned nothing by then, a constant predictor has a loss of {number(constant_loss)} too"
    works = None
    if len(phase.trials) > 1:
        works = warmups[len(phase.trials) - 2] if latest.is_feasible else None
    if verdict == "unstable":
        told += f"; {_about_warmups(phase, works, of=of, is_cut=_is_cut(study))}"
    numbers: dict[str, Json] = {
        "learning_rate": probe.spec.learning_rate,
        "best_rate": of.best_rate,
        "num_steps": probe.last_step,
        "verdict": verdict,
        "kind": probe.outcome.reason if probe.outcome is not None else "",
        "at_step": probe.last_step if verdict == "unstable" else None,
        "grad_norm": _norm(study, probe),
        "median_grad_norm": _median_norm(study, probe),
        "largest_rise": largest_rise(losses),
        "last_loss": losses[-1][1] if losses else None,
        "tried": [
            {
                "warmup_steps": trial.spec.schedule.warmup_steps,
                "is_stable": trial.is_feasible,
                "at_step": trial.last_step,
            }
            for trial in phase.trials
        ],
        "warmup": None if works is None else asdict(works),
    }
    decision = Decision(kind=INSTABILITY_PROBE, phase=phase.name, reason=f"{told}{CITED}", numbers=json_safe(numbers))
    return ClosePhase(phase=phase.name, verdict=verdict, reason=f"{told}.", decisions=(decision,))


def _verdict(study: StudyRecord, probe: TrialRecord) -> tuple[str, str]:
    rate = number(probe.spec.learning_rate)
    start = f"Early probe at learning_rate {rate}"
    if probe.is_feasible:
        norm, rise = _median_norm(study, probe), largest_rise(study.curve(probe.trial, TRAIN_SAMPLE, "loss"))
        known = "" if norm is None else f"; median unclipped gradient norm {number(norm)}"
        if rise is not None:
            at = dict(study.curve(probe.trial, UPDATES, "grad_norm")).get(rise[0])
            there = "" if at is None else f", gradient norm {number(at)}"
            known += f"; the loss rose at most {number(rise[1])} above its best, at step {rise[0]:,}{there}"
        return "stable", f"{start}: stable for {steps(probe.last_step)}, evaluated at every one{known}"
    if probe.outcome is None or probe.outcome.kind != "infeasible":
        return "unknown", f"{start}: its run did not end, so that nothing is known"
    norm, usual = _norm(study, probe), _median_norm(study, probe)
    known = (
        "" if norm is None or usual is None else f", unclipped gradient norm {number(norm)} (median {number(usual)})"
    )
    return "unstable", f"{start}: unstable, {_how(probe)}{known}"


def _how(trial: TrialRecord) -> str:
    assert trial.outcome is not None
    return f"{trial.outcome.reason} at step {trial.last_step:,}"


def _about_warmups(phase: PhaseRecord, works: Warmup | None, *, of: Probed, is_cut: bool) -> str:
    tried = ", ".join(f"{trial.spec.schedule.warmup_steps:,}" for trial in phase.trials[1:])
    if works is not None:
        more = ", more than 5 % of the budget: raise it" if works.asks_for_more else ""
        return (
            f"the shortest warmup that works there is training.warmup_steps={works.warmup_steps} (prepended: "
            f"{of.budget:,} + {works.warmup_steps:,} = {steps(works.max_train_steps)}{more}); a recipe change needs a "
            "new study name"
        )
    if is_cut:
        told = f"; {tried} did not work" if tried else ""
        return f"no longer warmup is tried for want of hours{told}; try clipping or lower rates"
    if not tried:
        return f"no longer warmup is within 10 % of the budget of {steps(of.budget)}; try clipping or lower rates"
    return f"no warmup within 10 % of the budget of {steps(of.budget)} works ({tried}); try clipping or lower rates"


def _norm(study: StudyRecord, trial: TrialRecord) -> float | None:
    """The unclipped norm of the last update that was measured; a step that is not finite has none."""
    curve = study.curve(trial.trial, UPDATES, "grad_norm")
    return curve[-1][1] if curve else None


def _median_norm(study: StudyRecord, trial: TrialRecord) -> float | None:
    curve = study.curve(trial.trial, UPDATES, "grad_norm")
    return median(value for _, value in curve) if curve else None
