"""What averaged weights say about a round's budget, printed beside its verdict; `round_1.adjust: averaged` may skip the
probe for it.

A late best step proves nothing, since the decay pulls it there. Where averages along the plateau had what the decay
then reached, and had stopped to improve by then, more steps would gain nothing either (PROTOCOL 4).
"""

from __future__ import annotations

from dataclasses import asdict

from tuner.analysis.averaged_steps import AveragedSteps, averaged_steps
from tuner.analysis.averages import averaged_split
from tuner.analysis.verdict import BudgetCheck
from tuner.config.schema import StudyConfig
from tuner.protocol.words import steps
from tuner.records import VALIDATION, Json, PhaseRecord, StudyRecord


def averaged_of(
    config: StudyConfig, study: StudyRecord, *, phase: PhaseRecord, check: BudgetCheck
) -> AveragedSteps | None:
    """The evidence of a round 1 with a plateau; None where no averages were measured, or too few trials have them."""
    horizons, metric = phase.plan.eval.averaged_horizons, phase.plan.eval.metric
    decay = phase.trials[0].spec.schedule.decay_steps if phase.trials else 0
    if phase.plan.kind != "round_1" or not horizons or not decay:
        return None
    trials = [trial.trial for trial in phase.trials if trial.is_feasible]
    return averaged_steps(
        {h: {trial: study.curve(trial, averaged_split(h), metric) for trial in trials} for h in horizons},
        {trial: study.curve(trial, VALIDATION, metric) for trial in trials},
        phase.plan.max_train_steps - decay,
        direction=phase.plan.eval.direction,
        leading=check.leading_trials,
        min_gain=config.round_1.min_gain,
    )


def is_enough(found: AveragedSteps | None) -> bool:
    """Whether a probe would measure what the averages show already."""
    return found is not None and found.holds and found.has_stopped


def told_averaged(found: AveragedSteps) -> str:
    """The counts, and how far they are to be believed."""
    (good, good_best), of = found.good_in_time, found.calibration
    stands = "stand" if found.holds else "do not stand"
    return (
        f"weights averaged over {of.horizon} updates were, before the decay at {steps(found.decay_start)}, as good as "
        f"they get in the first three quarters of that in {good} of all, {good_best} of the best, and still gained "
        f"{found.gain_per_doubling:.3g} per doubling of the steps; they {stands} in for the decays here "
        f"({of.mean_error:+.3g} on average, {of.num_concordant} of {of.num_pairs} pairs in the same order)"
    )


def told_choice(found: AveragedSteps | None) -> str:
    """Whether the probe was skipped, and why, in one clause."""
    if found is None:
        return "the probe is run: too few trials have averaged curves"
    if not found.has_stopped:
        return "the probe is run: the averages had not stopped to improve before the decay"
    if not found.holds:
        return "the probe is run: the averages do not stand in for the decays here"
    return (
        "the probe is skipped: the averages had stopped to improve before the decay, which gained little over them, so "
        "that the decay alone made the best steps late"
    )


def averaged_numbers(found: AveragedSteps) -> dict[str, Json]:
    """What the decision keeps."""
    return {**asdict(found), "holds": found.holds, "has_stopped": found.has_stopped}
