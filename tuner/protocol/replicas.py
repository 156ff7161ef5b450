"""Points and the seeds that they were trained with: means over seeds, and how much equal runs differ by seed alone."""

from __future__ import annotations

from collections.abc import Iterable
from statistics import fmean

from tuner.analysis.best_steps import sign_of
from tuner.analysis.seeds import pooled_seed_deviation
from tuner.analysis.transfer import point_key
from tuner.protocol.rounds import feasible
from tuner.records import PhaseRecord, StudyRecord, TrialRecord


def replicas(phase: PhaseRecord) -> dict[str, list[TrialRecord]]:
    """The feasible trials of a phase by point: one list per point, a trial per seed.

    A point that the search drew twice is one run, not two seeds: its first trial stands for it.
    """
    points: dict[str, dict[int, TrialRecord]] = {}
    for trial in feasible(phase):
        points.setdefault(point_key(trial.params), {}).setdefault(trial.spec.seed, trial)
    return {point: list(by_seed.values()) for point, by_seed in points.items()}


def paired_replicas(earlier: PhaseRecord, later: PhaseRecord) -> dict[str, tuple[list[TrialRecord], list[TrialRecord]]]:
    """Points that two phases share: their trials in each, those of the seeds that both have, in the same order.

    A point went on because its first seed did well: beside further seeds that luck would look like what length costs.
    Points without a common seed keep all that they have.
    """
    after, pairs = replicas(later), {}
    for key, firsts in replicas(earlier).items():
        if key in after:
            seconds = {trial.spec.seed: trial for trial in after[key]}
            common = [trial for trial in firsts if trial.spec.seed in seconds]
            pairs[key] = (common, [seconds[trial.spec.seed] for trial in common]) if common else (firsts, after[key])
    return pairs


def further_replicas(
    earlier: PhaseRecord, later: PhaseRecord
) -> dict[str, tuple[list[TrialRecord], list[TrialRecord]]]:
    """Points that two phases share: their trials in the earlier one, and those of seeds that only the later one has."""
    after, pairs = replicas(later), {}
    for key, firsts in replicas(earlier).items():
        seeds = {trial.spec.seed for trial in firsts}
        if further := [trial for trial in after.get(key, ()) if trial.spec.seed not in seeds]:
            pairs[key] = (firsts, further)
    return pairs


def value_of(trial: TrialRecord) -> float:
    """The best value of a feasible trial."""
    assert trial.best_value is not None, "feasible trials have one"
    return trial.best_value


def leader(phase: PhaseRecord) -> TrialRecord:
    """The best trial of the point with the best mean over its seeds."""
    sign, group = sign_of(phase.plan.eval.direction), ranked_points(phase)[0]
    return min(group, key=lambda trial: (sign * value_of(trial), trial.number))


def ranked_points(phase: PhaseRecord) -> list[list[TrialRecord]]:
    """The feasible trials of each point, points by their mean over seeds, the best first; ties by number.

    A point that lacks a seed (a crash, a twin) is not paid for the luck of those it has: what a seed is worth, as
    measured on the points that have all of them, is taken off first.
    """
    sign, points = sign_of(phase.plan.eval.direction), replicas(phase)
    luck = _seed_effects(points.values())

    def score(trials: list[TrialRecord]) -> tuple[float, int]:
        return sign * fmean(value_of(t) - luck.get(t.spec.seed, 0.0) for t in trials), trials[0].number

    return sorted(points.values(), key=score)


def known_seed_deviation(study: StudyRecord) -> float | None:
    """Pooled over all replicated points of the rounds so far; None before any replication."""
    rounds = [phase for phase in study.phases if phase.plan.kind in ("round_1", "round_2")]
    groups = [group for phase in rounds for group in replicas(phase).values()]
    return pooled_seed_deviation([value_of(trial) for trial in group] for group in groups)


def _seed_effects(points: Iterable[list[TrialRecord]]) -> dict[int, float]:
    """How far each seed lies from the mean over seeds, on the points that have every seed; empty if none has."""
    groups = [{trial.spec.seed: value_of(trial) for trial in trials} for trials in points]
    seeds = {seed for group in groups for seed in group}
    complete = [group for group in groups if group.keys() == seeds]
    if not complete or len(complete) == len(groups):
        return {}
    means = {seed: fmean(group[seed] for group in complete) for seed in sorted(seeds)}
    middle = fmean(means.values())
    return {seed: mean - middle for seed, mean in means.items()}
