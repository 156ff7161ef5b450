"""`round_1.decay`: a budget that doubled keeps the decay of the short one, so the decay is tuned anew.

Each of the best trials' trunks ends in decays of several lengths; the best length on average goes to later rounds
(PROTOCOL 4: too short means train longer *and re-tune the decay*). Trunks keep full states where the decays part.
"""

from __future__ import annotations

from collections.abc import Set
from dataclasses import replace
from statistics import fmean
from typing import Final

from tuner.analysis.best_steps import sign_of
from tuner.analysis.transfer import point_key
from tuner.analysis.verdict import rank_by_best_mean
from tuner.config.schema import StudyConfig
from tuner.protocol.joined import is_extended_since, next_part
from tuner.protocol.replicas import value_of
from tuner.protocol.rounds import ROUND_1, distinct, feasible
from tuner.protocol.runs import retuned_decays
from tuner.protocol.words import json_safe, number, steps
from tuner.records import (
    VALIDATION,
    ClosePhase,
    Decision,
    Move,
    OpenPhase,
    PhasePlan,
    PhaseRecord,
    StudyRecord,
    TrialPlan,
    TrialRecord,
    Wait,
)

NUM_RETUNED: Final = 3
"""So many of the best trials try other decays."""

DECAY: Final = f"{ROUND_1}.decay"
DECAY_STEPS: Final = "decay_steps"
"""The length as a trial's parameter, beside its point."""


def retune_decay(config: StudyConfig, study: StudyRecord, *, rounds: list[PhaseRecord]) -> Move | None:
    """The next move of the re-tuning; None when it is done, or was not called for."""
    opened = [phase for phase in study.phases if phase.plan.kind == "decay"]
    if opened and not opened[-1].is_closed:
        return _close(rounds[-1], opened[-1])
    was_adjusted = len(rounds) > 1 and feasible(rounds[-1])
    if not was_adjusted or rounds[-1].verdict == "too long" or config.round_1.adjust == "none":
        return None
    if not opened:
        return _open(config, study, base=rounds[-1], name=DECAY)
    if opened[-1].plan.max_train_steps < rounds[-1].plan.max_train_steps:
        # An extension let the budget grow further.
        return _open(config, study, base=rounds[-1], name=f"{DECAY}.{len(opened) + 1}")
    if not is_extended_since(study, opened[-1]):
        return None
    tried = {trial.spec.schedule.decay_steps for trial in opened[-1].trials}
    return _open(config, study, base=rounds[-1], name=next_part(opened[-1]), tried=tried)


def retuned_length(study: StudyRecord) -> int | None:
    """The decay that was decided on, in updates; None if it was not tuned anew."""
    chosen = (decision for decision in reversed(study.decisions) if decision.kind == "decay")
    return next((int(decision.numbers["decay_steps"]) for decision in chosen), None)


def _open(
    config: StudyConfig, study: StudyRecord, *, base: PhaseRecord, name: str, tried: Set[int] = frozenset()
) -> OpenPhase | None:
    metric, direction = base.plan.eval.metric, base.plan.eval.direction
    curves = {trial.trial: study.curve(trial.trial, VALIDATION, metric) for trial in feasible(base)}
    by_id = {trial.trial: trial for trial in base.trials}
    best = distinct(by_id[trial] for trial in rank_by_best_mean(curves, direction))[:NUM_RETUNED]
    lengths = [length for length in retuned_decays(config, best[0].spec) if length not in tried]
    if not lengths:
        return None
    plans = [(trial, length) for trial in best for length in lengths]
    trials = tuple(
        TrialPlan(
            number=place,
            params={**trial.params, DECAY_STEPS: length},
            spec=replace(
                trial.spec, schedule=replace(trial.spec.schedule, decay_steps=length), fork_steps=trial.spec.fork_steps
            ),
        )
        for place, (trial, length) in enumerate(plans)
    )
    kept = best[0].spec.schedule.decay_steps
    reason = (
        f"The budget grew to {steps(base.plan.max_train_steps)} with the decay of the first one, {steps(kept)}: decays "
        f"of {', '.join(f'{length:,}' for length in lengths)} steps join it on the plateaus of the best {len(best)} "
        f"trials of {base.name} (playbook, Round 1)."
    )
    numbers = {"lengths": [kept, *lengths], "from_trials": [trial.trial for trial in best]}
    decision = Decision(kind="decay_opened", phase=name, reason=reason, numbers=json_safe(numbers))
    plan = PhasePlan(name=name, kind="decay", max_train_steps=base.plan.max_train_steps, eval=base.plan.eval)
    return OpenPhase(plan=plan, trials=trials, decisions=(decision,))


def _close(base: PhaseRecord, phase: PhaseRecord) -> Move:
    if not all(trial.is_ended for trial in phase.trials):
        return Wait()
    kept = base.trials[0].spec.schedule.decay_steps
    means = _means(base, phase)
    sign = sign_of(phase.plan.eval.direction)
    # A tie keeps what was, then goes to the shorter decay, whose plateau is longer.
    chosen = min(means, key=lambda length: (sign * means[length], length != kept, length), default=kept)
    table = ", ".join(f"{length:,}: {number(means[length])}" for length in sorted(means))
    told = f"mean best {phase.plan.eval.metric} by decay: {table}" if table else "no point has all of them feasible"
    verb = "stays" if chosen == kept else "becomes"
    reason = f"The decay {verb} {steps(chosen)} of {steps(phase.plan.max_train_steps)} ({told}); later rounds keep it"
    by_length = [{"decay_steps": length, "mean": means[length]} for length in sorted(means)]
    numbers = {"decay_steps": chosen, "from_decay_steps": kept, "means": by_length}
    decision = Decision(
        kind="decay", phase=phase.name, reason=f"{reason} (playbook, Round 1).", numbers=json_safe(numbers)
    )
    return ClosePhase(phase=phase.name, verdict=f"decay of {steps(chosen)}", reason=f"{reason}.", decisions=(decision,))


def _means(base: PhaseRecord, phase: PhaseRecord) -> dict[int, float]:
    """Mean best value by length, over the points that are feasible at every length."""
    lengths = {trial.spec.schedule.decay_steps for trial in (base.trials[0], *phase.trials)}
    values: dict[str, dict[int, float]] = {}
    for trial in (*feasible(base), *feasible(phase)):
        values.setdefault(_point(trial), {})[trial.spec.schedule.decay_steps] = value_of(trial)
    complete = [found for found in values.values() if found.keys() == lengths]
    return {length: fmean(found[length] for found in complete) for length in lengths} if complete else {}


def _point(trial: TrialRecord) -> str:
    return point_key({name: value for name, value in trial.params.items() if name != DECAY_STEPS})
