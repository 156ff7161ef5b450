"""How long the next later round is: a multiple of the round before, given by the user or left to the study (`auto`).

`auto` trains longer only where longer training was shown to gain: by the verdict on round 1, after that by what the
round before gained over the one before it, point by point and seed by seed (PROTOCOL 5).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from tuner.analysis.probe import measure_probe
from tuner.analysis.transfer import point_key
from tuner.config.schema import StudyConfig
from tuner.protocol.compute_bound import production_steps
from tuner.protocol.lengths import ratio_to_production
from tuner.protocol.probe import MIN_PROBED, told_bar
from tuner.protocol.replicas import known_seed_deviation
from tuner.protocol.rounds import GROWTH, ROUND_1, feasible
from tuner.protocol.words import number, steps
from tuner.records import VALIDATION, PhasePlan, PhaseRecord, StudyRecord, TrialRecord

LATER: Final = "round_2"
"""The kind of every round after round 1; its name tells which."""

TOO_SHORT: Final = "too short"
"""The one verdict on round 1 after which a longer round has shown to be worth it (PROTOCOL 5)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Length:
    """A round's budget, the one that it is a multiple of, and why if the multiple was left to the study (`auto`)."""

    steps: int
    carried: int
    why: str


def round_name(place: int) -> str:
    """The round at a place of `rounds`.

    >>> round_name(0), round_name(1)
    ('round_2', 'round_3')
    """
    return f"round_{place + 2}"


def place_of(phase: PhasePlan) -> int:
    """The place of a later round in `rounds`; one that was run again at another budget is `round_2.2`."""
    return int(phase.name.removeprefix("round_").partition(".")[0]) - 2


def length_of(config: StudyConfig, study: StudyRecord, *, place: int, base: PhaseRecord) -> Length:
    """The budget of the later round at a place, after `base`."""
    multiple, production = config.later_rounds[place].budget_multiple, production_steps(study)
    carried = carried_steps(study, base)
    if multiple != "auto":
        return Length(steps=max(1, round(multiple * carried)), carried=carried, why="")
    if production is not None:
        # From here on the whole budget of round 1 is what the length is a multiple of.
        return _towards_production(config, production, place=place, before=base.plan.max_train_steps)
    name = round_name(place)
    grows, why = _after_later(config, study, base) if base.plan.kind == LATER else _after_round_1(base)
    if not grows:
        why += f": {name.replace('_', ' ')} is replication only"
    return Length(steps=GROWTH * carried if grows else carried, carried=carried, why=f"{why} (budget_multiple: auto)")


def carried_steps(study: StudyRecord, base: PhaseRecord) -> int:
    """The budget that the verdict on a round carried forward: as decided, never measured again."""
    for decision in reversed(study.decisions):
        if decision.kind == "verdict" and decision.phase == base.name:
            return int(decision.numbers["carried_steps"])
    return base.plan.max_train_steps


def _towards_production(config: StudyConfig, production: int, *, place: int, before: int) -> Length:
    rest = config.later_rounds[place:]
    if len(rest) == 1:
        why = "this is the production length (compute-bound; budget_multiple: auto)"
        if before > production:
            # Given multiples led beyond it: a round is never shorter than the one before.
            why = f"it is beyond the production length of {steps(production)} already (budget_multiple: auto)"
        return Length(steps=max(production, before), carried=before, why=why)
    ratio, last = ratio_to_production(rest, before=before, production=production), len(config.later_rounds) - 1
    why = (
        f"lengths grow by the same ratio to the production length of {steps(production)} in {round_name(last)} "
        "(compute-bound; budget_multiple: auto)"
    )
    return Length(steps=max(1, round(ratio * before)), carried=before, why=why)


def _after_round_1(base: PhaseRecord) -> tuple[bool, str]:
    if base.verdict == TOO_SHORT:
        return True, f"{base.name} is {base.verdict}: longer training may still gain"
    return False, f"{base.name} is {base.verdict}, nothing showed that longer training gains"


def _after_later(config: StudyConfig, study: StudyRecord, base: PhaseRecord) -> tuple[bool, str]:
    """Whether a later round gained over the round that it came from, by the bars of the probe."""
    rounds = [phase for phase in study.phases if phase.plan.kind in (ROUND_1, LATER) and feasible(phase)]
    earlier = rounds[rounds.index(base) - 1]
    if base.plan.max_train_steps <= earlier.plan.max_train_steps:
        return False, f"{base.name} was no longer than {earlier.name}, nothing showed that longer training gains"
    shorter = {_run(trial): trial for trial in feasible(earlier)}
    metric = base.plan.eval.metric
    pairs = [
        (
            study.curve(shorter[_run(trial)].trial, VALIDATION, metric),
            study.curve(trial.trial, VALIDATION, metric),
        )
        for trial in feasible(base)
        if _run(trial) in shorter
    ]
    common = "1 run" if len(pairs) == 1 else f"{len(pairs)} runs"
    if len(pairs) < MIN_PROBED:
        return False, (
            f"{base.name} has {common} in common with {earlier.name} (point and seed), fewer than {MIN_PROBED}: what "
            "longer training gains is unknown"
        )
    found = measure_probe(
        pairs,
        direction=base.plan.eval.direction,
        min_gain=config.round_1.min_gain,
        seed_deviation=known_seed_deviation(study),
    )
    verdict = "longer training may still gain" if found.is_gain else "longer training has stopped to gain"
    return found.is_gain, (
        f"mean gain in {metric} of the {common} that {base.name} has in common with {earlier.name} (point and seed): "
        f"{found.mean_gain:+.3g}, {'above' if found.is_gain else 'not above'} both "
        f"round_1.min_gain={number(config.round_1.min_gain)} of the value ({number(found.needed_gain)}) and "
        f"{number(found.chance)} ({told_bar(found)}), so {verdict}"
    )


def _run(trial: TrialRecord) -> tuple[str, int]:
    return point_key(trial.params), trial.spec.seed
