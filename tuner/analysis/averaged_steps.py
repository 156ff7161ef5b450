"""When did the averaged weights stop to improve? Evidence on a budget that no decay has pulled.

A decaying rate pulls best steps to the end whatever the budget; averages along the plateau show what decays would reach
without one. Only what came before a trial's own decay counts: in a decay, an average over few updates is the decayed
model itself. And it counts only where the averages had, before the decay, what the decay then reached (PROTOCOL 4).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import hypot, log2
from statistics import fmean, median

from tuner.analysis.best_steps import best, first_good_step, in_last_quarter, sign_of
from tuner.analysis.calibration import Calibration, calibrate
from tuner.analysis.intervals import Share, share
from tuner.analysis.verdict import MIN_FEASIBLE_TRIALS, MIN_PERCENT
from tuner.records import Curve, Direction


@dataclass(frozen=True, slots=True, kw_only=True)
class AveragedSteps:
    """The averaged curves of a round up to `decay_start`, over the horizon that comes closest to the decayed values.

    `calibration` compares their last values before the decay with the best values in it, trial by trial.
    `good_in_time` counts the trials whose averaged curve was as good as it gets before the last quarter of the plateau;
    `reached` those in which the decay then gained no more than `needed_gain`, the gain that is worth twice the budget.
    Each for all feasible trials and for the best group. `gain_per_doubling` is what the best group's averages gained in
    that last quarter, on average, as a gain for each doubling of the steps: what the probe would measure.
    """

    decay_start: int
    num_trials: int
    calibration: Calibration
    needed_gain: float
    good_in_time: tuple[Share, Share]
    reached: tuple[Share, Share]
    gain_per_doubling: float
    best_steps: tuple[int, ...]
    median_best_step: float
    median_first_good_step: float

    @property
    def holds(self) -> bool:
        """Whether the averages can tell: nearly all trials had by then what their decay reached, in the same order."""
        found = self.calibration
        in_order = 100 * found.num_concordant >= MIN_PERCENT * found.num_pairs
        return self.num_trials >= MIN_FEASIBLE_TRIALS and in_order and _both(self.reached)

    @property
    def has_stopped(self) -> bool:
        """Whether nearly all averaged curves had stopped to improve, the best of them by less than is worth having."""
        return _both(self.good_in_time) and self.gain_per_doubling <= self.needed_gain


def averaged_steps(
    averaged: Mapping[int, Mapping[int, Curve]],
    curves: Mapping[int, Curve],
    decay_start: int,
    *,
    direction: Direction,
    leading: Sequence[int],
    min_gain: float,
) -> AveragedSteps | None:
    """The evidence of a round: `averaged` by horizon and trial, `curves` of the weights themselves by trial.

    `leading` are the trials of the best group; `min_gain` is a share of the decayed values' mean, as the probe's. None
    where fewer than two trials have both an averaged value before the decay and one in it.
    """
    sign = sign_of(direction)
    ends = {trial: top[1] for trial, curve in curves.items() if (top := best(_after(curve, decay_start), direction))}
    found: list[tuple[Calibration, dict[int, Curve]]] = []
    for horizon, by_trial in averaged.items():
        plateaus = {t: part for t in ends if (part := _until(by_trial.get(t, ()), decay_start))}
        if len(plateaus) > 1:
            last = {horizon: [sign * part[-1][1] for part in plateaus.values()]}
            found.append((calibrate(last, [sign * ends[trial] for trial in plateaus]), plateaus))
    if not found:
        return None
    calibration, plateaus = min(found, key=lambda each: hypot(each[0].mean_error, each[0].spread))
    needed = min_gain * abs(sum(ends[trial] for trial in plateaus) / len(plateaus))
    goods = {trial: first_good_step(part, direction) or 0 for trial, part in plateaus.items()}
    tops = [top[0] for part in plateaus.values() if (top := best(part, direction))]
    gained = dict(zip(plateaus, calibration.errors, strict=True))
    groups = (tuple(plateaus), tuple(trial for trial in leading if trial in plateaus))
    return AveragedSteps(
        decay_start=decay_start,
        num_trials=len(plateaus),
        calibration=calibration,
        needed_gain=needed,
        good_in_time=_counted(groups, (t for t, good in goods.items() if not in_last_quarter(good, decay_start))),
        reached=_counted(groups, (trial for trial, gain in gained.items() if gain <= needed)),
        gain_per_doubling=fmean(sign * _gain_per_doubling(plateaus[trial]) for trial in groups[1] or groups[0]),
        best_steps=tuple(tops),
        median_best_step=median(tops),
        median_first_good_step=median(goods.values()),
    )


def _gain_per_doubling(plateau: Curve) -> float:
    """How far a curve fell in its last quarter, over the doublings that this is; 0 for a single evaluation."""
    end, last = plateau[-1]
    start, first = next((each for each in reversed(plateau) if not in_last_quarter(each[0], end)), plateau[0])
    return 0.0 if start == end else (first - last) / log2(end / start)


def _until(curve: Curve, step: int) -> Curve:
    return tuple(each for each in curve if each[0] <= step)


def _after(curve: Curve, step: int) -> Curve:
    return tuple(each for each in curve if each[0] > step)


def _counted(groups: tuple[tuple[int, ...], tuple[int, ...]], these: Iterable[int]) -> tuple[Share, Share]:
    """How many of all trials, and of the best group."""
    chosen = set(these)
    everyone, leaders = (share(len(chosen.intersection(group)), len(group)) for group in groups)
    return everyone, leaders


def _both(shares: tuple[Share, Share]) -> bool:
    return all(each.is_at_least(MIN_PERCENT) for each in shares)
