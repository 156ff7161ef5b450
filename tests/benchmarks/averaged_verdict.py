"""How often does `round_1.adjust: averaged` skip the probe, and how often wrongly?

    python tests/benchmarks/averaged_verdict.py [--studies 1000] [--evaluations 25] [--fall 4]

The studies of verdict_accuracy.py whose best steps are late, with averaged curves beside the raw ones: noise a quarter
of the plateau's where nothing else is said, and of what the decay gains all (averages stand in), half, or nothing.
"hidden": the plateau shows no progress at all, raw or averaged, only decays do. To skip the probe although the optimum
lies beyond the budget is wrong: aim below 5 %.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass, replace

import numpy as np
from verdict_accuracy import BUDGET, DECAY_SHARE, FAMILIES, LEVEL, MIN_GAIN, NOISE, NUM_TRIALS, Family

from tuner.analysis.averaged_steps import averaged_steps
from tuner.analysis.verdict import CONFOUNDED, judge_budget
from tuner.records import Curve

DECAY_START = round((1 - DECAY_SHARE) * BUDGET)
HORIZON = 50


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """A family of studies, and what its averages see: a share of the decay's gain; the plateau's progress, or none."""

    family: Family
    seen_gain: float = 1.0
    is_hidden: bool = False
    noise: float = 0.25
    """Of the averages' evaluations, as a share of the plateau's."""


LEVELS, IMPROVES = FAMILIES["levels off, decay helps"], FAMILIES["improves still, decay helps"]
LOUD_LEVELS, LOUD_IMPROVES = FAMILIES["levels off, loud plateau"], FAMILIES["improves still, loud plateau"]
KINDS = {
    "levels off": Kind(family=LEVELS),
    "levels off, loud plateau": Kind(family=LOUD_LEVELS),
    "levels off, averages see half": Kind(family=LEVELS, seen_gain=0.5),
    "levels off, averages see nothing": Kind(family=LEVELS, seen_gain=0.0),
    "improves still": Kind(family=IMPROVES),
    "improves still, loud plateau": Kind(family=LOUD_IMPROVES),
    "improves still, averages see half": Kind(family=IMPROVES, seen_gain=0.5),
    "improves still, averages see more": Kind(family=IMPROVES, seen_gain=1.5),
    "improves still, averages as noisy as weights": Kind(family=IMPROVES, noise=1.0),
    "improves still, loud plateau, averages as noisy": Kind(family=LOUD_IMPROVES, noise=1.0),
    "improves still, hidden": Kind(family=IMPROVES, seen_gain=0.0, is_hidden=True),
    "improves still, hidden, small decay gain": Kind(
        family=replace(IMPROVES, decay_gain=0.25), seen_gain=0.0, is_hidden=True
    ),
}


def is_skipped(kind: Kind, random: np.random.Generator, *, fall: float, num_evals: int) -> bool | None:
    """Whether the probe of one random study is skipped; None where none is asked for."""
    family = kind.family
    progress, levels = family.progress(random, fall), LEVEL + 2 * fall * NOISE * random.random(NUM_TRIALS)
    steps = np.unique([*np.linspace(0, BUDGET, num_evals + 1)[1:].round().astype(int), DECAY_START])
    decay = np.clip(1 - (BUDGET - steps) / (DECAY_SHARE * BUDGET), 0, None)
    plateau = progress(np.full_like(steps, BUDGET) / BUDGET) + fall if kind.is_hidden else progress(steps / BUDGET)
    # The decay uncovers what was hidden: it ends where the progress is.
    falls = plateau - decay * (fall if kind.is_hidden else 0.0) - family.decay_gain * fall * decay
    loudness = family.plateau_noise + (1 - family.plateau_noise) * decay
    seen = plateau - kind.seen_gain * family.decay_gain * fall

    def curve(values: np.ndarray) -> Curve:
        return tuple(zip(steps.tolist(), values.tolist(), strict=True))

    raw, averaged = {}, {}
    for number, level in enumerate(levels):
        raw[number] = curve(level + NOISE * (falls + loudness * random.standard_normal(len(steps))))
        noise = kind.noise * family.plateau_noise * random.standard_normal(len(steps))
        averaged[number] = curve(level + NOISE * (seen + noise))
    check = judge_budget(raw, BUDGET, direction="minimize", eval_every_steps=BUDGET // num_evals, adjust="probe")
    if check.verdict != CONFOUNDED:
        return None
    found = averaged_steps(
        {HORIZON: averaged},
        raw,
        DECAY_START,
        direction="minimize",
        leading=check.leading_trials,
        min_gain=MIN_GAIN,
    )
    return found is not None and found.holds and found.has_stopped


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--studies", type=int, default=1000)
    parser.add_argument("--evaluations", type=int, default=25)
    parser.add_argument("--fall", type=float, default=4.0)
    arguments = parser.parse_args()
    print("| studies that | best steps late | of these the probe is skipped | which is |")
    print("|---|---|---|---|")
    for number, (name, kind) in enumerate(KINDS.items()):
        random = np.random.default_rng(number)
        found = [
            is_skipped(kind, random, fall=arguments.fall, num_evals=arguments.evaluations)
            for _ in range(arguments.studies)
        ]
        asked = [each for each in found if each is not None]
        skipped = 100 * sum(asked) / len(asked) if asked else 0.0
        right = "wrong" if kind.family.right == "too short" else "right"
        print(f"| {name} | {100 * len(asked) / arguments.studies:.1f} % | {skipped:.1f} % | {right} |")


if __name__ == "__main__":
    main()
