"""What the study asked, answered in a sentence for each scientific hyperparameter; the same numbers everywhere.

The round that decides is the last in which no value is missing that had a feasible trial before: a comparison of those
that happened to go on would flatter them.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import inf

from tuner.analysis.isolation import IsolatedValue, Isolation, deciding_deviations, isolate
from tuner.analysis.seeds import degrees_of_freedom, pooled_seed_deviation
from tuner.config.condition_rules import OPTIMIZER_SETTINGS, entries
from tuner.config.scales import grid_axis
from tuner.config.schema import StudyConfig, Training
from tuner.config.spaces import setting_of
from tuner.protocol.replicas import replicas, value_of
from tuner.protocol.scientific import asked, told_sweep_values
from tuner.records import PhaseRecord, StudyRecord, TrialRecord, Value
from tuner.report.distribution import judged_rounds
from tuner.report.search_edges import edges_of
from tuner.report.wording import first_decision, number, value_text


@dataclass(frozen=True, slots=True, kw_only=True)
class RoundIsolation:
    """One scientific hyperparameter in one round."""

    phase: PhaseRecord
    isolation: Isolation
    seed_deviation: float | None
    num_deviations: float
    """From so many standard deviations on a difference counts."""


def isolations(config: StudyConfig, study: StudyRecord) -> dict[str, list[RoundIsolation]]:
    """Every scientific hyperparameter with the rounds that say something about it, in their order."""
    rounds = [phase for phase in judged_rounds(study) if any(trial.is_ended for trial in phase.trials)]
    seeds = [[value_of(trial) for trial in trials] for phase in rounds for trials in replicas(phase).values()]
    deviation, freedom = pooled_seed_deviation(seeds), degrees_of_freedom(seeds)
    return {
        name: [
            RoundIsolation(
                phase=phase,
                isolation=isolate(
                    name,
                    _values(config, name),
                    phase.trials,
                    direction=phase.plan.eval.direction,
                    seed_deviation=deviation,
                ),
                seed_deviation=deviation,
                num_deviations=deciding_deviations(freedom) if freedom else inf,
            )
            for phase in rounds
        ]
        for name in asked(config)
        if rounds
    }


def deciding(rounds: list[RoundIsolation]) -> RoundIsolation:
    """The last round in which every value is compared that any round could."""
    most = max(len(found.isolation.ranked) for found in rounds)
    return next(found for found in reversed(rounds) if len(found.isolation.ranked) == most)


def claim(found: RoundIsolation) -> str:
    """What the deciding round says of a scientific hyperparameter."""
    name, ranked, metric = found.isolation.name, found.isolation.ranked, found.phase.plan.eval.metric
    if not ranked:
        return f"{name}: no value has a feasible trial."
    best = _told(name, ranked[0])
    if len(ranked) == 1:
        return f"{name}: only {best} has a feasible trial in {found.phase.name}; there is nothing to compare it with."
    second, value = ranked[1], number(ranked[0].best_value or 0.0)
    if ranked[0].num_seeds > 1:
        value = f"{value} (mean of {ranked[0].num_seeds} seeds)"
    ahead = f"{number(second.behind or 0.0)} ahead of {_told(name, second)} in {found.phase.name}"
    if second.deviations is None:
        known = "unknown" if found.seed_deviation is None else "zero"
        return f"Undecided: {best} leads with {metric} {value}, {ahead}, but the seed deviation is {known}."
    apart = f"{second.deviations:.1f} standard deviations of the difference"
    if not is_decided(found):
        needed = f"{found.num_deviations:g} would decide"
        return f"Undecided: {best} leads with {metric} {value}, {ahead}: {apart}, where {needed}."
    return f"{best} is best: {metric} {value}, {ahead} ({apart})."


def is_decided(found: RoundIsolation) -> bool:
    """Whether the best value is ahead by more than seeds explain."""
    ranked = found.isolation.ranked
    return len(ranked) > 1 and ranked[1].deviations is not None and ranked[1].deviations >= found.num_deviations


def claims(config: StudyConfig, study: StudyRecord) -> list[str]:
    """One sentence per scientific hyperparameter; none before a trial of round 1 has ended."""
    return [claim(deciding(rounds)) for rounds in isolations(config, study).values()]


def conditions(config: StudyConfig, study: StudyRecord, *, found: RoundIsolation) -> list[str]:
    """What the comparison is conditional on: the budget's origin, ranges whose edge was best, and what was fixed."""
    told = []
    if derived_under(study):
        told.append(f"the budget was derived under {derived_under(study)}, which may suit another value less")
    trials = {trial.trial: trial for trial in found.phase.trials}
    for value in found.isolation.ranked:
        if value.best_trial is None:
            continue
        edges = edges_of(config.given_space, trials[value.best_trial].params)
        told += [
            f"the best trial of {_told(found.isolation.name, value)} is at the {edge} edge of its {name}: a wider "
            "range may hold a better one"
            for name, edge in edges.items()
        ]
    return [*told, f"fixed for all: {', '.join(fixed_settings(config))}, the model and the data"]


def derived_under(study: StudyRecord) -> str:
    """The scientific values that the sweep ran with, as it decided then; empty if the study asked nothing."""
    opened = first_decision(study, "sweep_opened")
    return told_sweep_values(opened.numbers.get("scientific") or {}) if opened is not None else ""


def fixed_settings(config: StudyConfig) -> list[str]:
    """Settings of training that no trial of the rounds differs in."""
    listed = entries(config)
    searched = {entry.name for entry in listed} | ({"learning_rate"} if config.search_space == "auto" else set())
    optimizers: set[object] = {config.training.optimizer}
    for entry in listed:
        if entry.name == "optimizer":
            optimizers |= set(entry.dimension.choices or ())
    idle = {name for known, names in OPTIMIZER_SETTINGS.items() if known not in optimizers for name in names}
    names = [name for name in Training.model_fields if name not in searched | idle]
    return [f"{name}={value_text(getattr(config.training, name))}" for name in names]


def trials_of(phase: PhaseRecord) -> list[TrialRecord]:
    """The trials that a figure may show: with a value, or infeasible."""
    return [trial for trial in phase.trials if trial.outcome and trial.outcome.kind in ("complete", "infeasible")]


def _values(config: StudyConfig, name: str) -> list[Value]:
    dimensions = [dimension for label, dimension in config.given_space.items() if setting_of(label) == name]
    return list(dict.fromkeys(value for dimension in dimensions for value in grid_axis(dimension)))


def _told(name: str, value: IsolatedValue) -> str:
    return f"{name}={value_text(value.value)}"
