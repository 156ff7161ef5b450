"""How often the verdict on a budget is right, on random made-up studies whose answer is known.

    python tests/benchmarks/verdict_accuracy.py [--studies 1000] [--evaluations 50] [--fall 4]

A study has 8 trials whose values differ by point, with Gaussian noise on each evaluation. `--fall` is in noise
deviations: what the curve falls by between 10 % of the budget and its end (too short: between the budget and twice
it; a decay adds as much again). The verdict is the protocol's own: bands of best steps, then the probe on the best
five where they are late (tuner.analysis.verdict, tuner.analysis.probe). Aims, at 50 evaluations and falls of 4:
too long and too short recognised in 95 %, false alarms below 5 %.
"""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tuner.analysis.probe import measure_probe
from tuner.analysis.verdict import CONFOUNDED, judge_budget, rank_by_best_mean
from tuner.records import Curve

BUDGET, NUM_TRIALS, NUM_PROBED, DECAY_SHARE, NOISE, LEVEL = 1000, 8, 5, 0.2, 0.01, 1.0
MIN_GAIN = 0.01

Floats = NDArray[np.float64]
Progress = Callable[[Floats], Floats]
"""Noise deviations above the final level, by share of the budget (1 is the budget, 2 the probe's)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Family:
    """A kind of study: its right verdict, how its trials progress, and what a decay adds in noise deviations."""

    right: str
    progress: Callable[[np.random.Generator, float], Progress]
    decay_gain: float = 0.0
    plateau_noise: float = 1.0
    """Noise of the plateau as a multiple of that at the decay's end; in between it falls with the rate."""


def fitted_early(random: np.random.Generator, fall: float) -> Progress:
    """All of the fall lies within the first 7 %; nothing comes after."""
    end = random.uniform(0.02, 0.07)
    return lambda t: 3 * fall * np.clip(1 - t / end, 0, None)


def fitted_early_then_overfits(random: np.random.Generator, fall: float) -> Progress:
    end, rise = random.uniform(0.02, 0.07), random.uniform(1, 3) * fall
    return lambda t: 3 * fall * np.clip(1 - t / end, 0, None) + rise * np.clip(t - end, 0, None)


def flat_but_for_noise(random: np.random.Generator, fall: float) -> Progress:
    return lambda t: np.zeros_like(t)


def turns_in_the_middle(random: np.random.Generator, fall: float) -> Progress:
    """Falls by `fall` between 10 % and its turn, then rises as fast."""
    turn = random.uniform(0.3, 0.6)
    return lambda t: fall * np.abs(t - turn) / (turn - 0.1)


def levels_off(random: np.random.Generator, fall: float) -> Progress:
    """Falls by `fall` from 10 % to between 40 and 70 % of the budget, then stays; the decay takes its own gain."""
    end = random.uniform(0.4, 0.7)
    return lambda t: fall * np.clip((end - t) / (end - 0.1), 0, None)


def improves_still(random: np.random.Generator, fall: float) -> Progress:
    """A power law that falls by `fall` between the budget and twice it."""
    power = random.uniform(0.3, 1.0)
    scale = fall / (1 - 2.0**-power)
    return lambda t: scale * t**-power


FAMILIES = {
    "early, then flat": Family(right="too long", progress=fitted_early),
    "early, then overfits": Family(right="too long", progress=fitted_early_then_overfits),
    "noise alone": Family(right="too long", progress=flat_but_for_noise),
    "turns in the middle": Family(right="adequate", progress=turns_in_the_middle),
    "levels off, decay helps": Family(right="adequate", progress=levels_off, decay_gain=1.0),
    "improves still, decay helps": Family(right="too short", progress=improves_still, decay_gain=1.0),
    "levels off, loud plateau": Family(right="adequate", progress=levels_off, decay_gain=4.0, plateau_noise=4.0),
    "improves still, loud plateau": Family(
        right="too short", progress=improves_still, decay_gain=4.0, plateau_noise=4.0
    ),
}


def verdict_of(family: Family, random: np.random.Generator, *, fall: float, num_evals: int) -> str:
    """The protocol's verdict on one random study of a family."""
    progress, levels = family.progress(random, fall), LEVEL + 2 * fall * NOISE * random.random(NUM_TRIALS)

    def curve(level: float, budget: int) -> Curve:
        steps = np.unique(np.linspace(0, budget, num_evals + 1)[1:].round().astype(int))
        decay = np.clip(1 - (budget - steps) / (DECAY_SHARE * BUDGET), 0, None)
        falls = progress(steps / BUDGET) - family.decay_gain * fall * decay
        loudness = family.plateau_noise + (1 - family.plateau_noise) * decay
        values = level + NOISE * (falls + loudness * random.standard_normal(len(steps)))
        return tuple(zip(steps.tolist(), values.tolist(), strict=True))

    curves = {number: curve(level, BUDGET) for number, level in enumerate(levels)}
    check = judge_budget(curves, BUDGET, direction="minimize", eval_every_steps=BUDGET // num_evals, adjust="probe")
    if check.verdict != CONFOUNDED:
        return check.verdict
    pairs = [
        (curves[trial], curve(levels[trial], 2 * BUDGET))
        for trial in rank_by_best_mean(curves, "minimize")[:NUM_PROBED]
    ]
    return "too short" if measure_probe(pairs, direction="minimize", min_gain=MIN_GAIN).is_gain else "adequate"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--studies", type=int, default=1000)
    parser.add_argument("--evaluations", type=int, default=50)
    parser.add_argument("--fall", type=float, default=4.0)
    arguments = parser.parse_args()
    print("| studies that | right verdict | recognised | too long | adequate | too short | undecided |")
    print("|---|---|---|---|---|---|---|")
    for number, (name, family) in enumerate(FAMILIES.items()):
        random = np.random.default_rng(number)
        found = Counter(
            verdict_of(family, random, fall=arguments.fall, num_evals=arguments.evaluations)
            for _ in range(arguments.studies)
        )
        shares = {verdict: 100 * count / arguments.studies for verdict, count in found.items()}
        told = " | ".join(f"{shares.get(v, 0.0):.1f} %" for v in ("too long", "adequate", "too short", "undecided"))
        print(f"| {name} | {family.right} | {shares.get(family.right, 0.0):.1f} % | {told} |")


if __name__ == "__main__":
    main()
