"""What a study may cost, in steps, before anything is known: closed form, from the config alone.

Every number is a bound: what the study will need between them is what it finds out.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import pairwise
from math import ceil
from typing import Final

from tuner.analysis.instability import SHORT_BUDGET, SHORT_WARMUP_SHARES, WARMUP_LENGTHS
from tuner.config.kind_rules import ROUND_1_SHARE, has_length, round_1_steps
from tuner.config.schema import StudyConfig
from tuner.protocol.cooldown import COOLDOWN, cooldown_steps
from tuner.protocol.decay import DECAY, NUM_RETUNED
from tuner.protocol.frontier_budgets import FRONTIER
from tuner.protocol.instability_probe import INSTABILITY_PROBE, MOST_EVALUATIONS, planned_steps
from tuner.protocol.lengths import expected_lengths, has_twin
from tuner.protocol.next_length import round_name
from tuner.protocol.probe import NUM_PROBED, may_probe, probe_name
from tuner.protocol.rounds import GROWTH, MARGIN_OVER_GOOD_STEP, ROUND_1
from tuner.protocol.runs import check_first_guess, eval_cadence, has_plateau
from tuner.protocol.sweep import SURVIVORS
from tuner.protocol.sweep_hours import SWEEP, measuring_steps
from tuner.protocol.widening import may_widen, num_extra_points
from tuner.protocol.words import steps

_END_OF_SWEEP = {
    "auto": "until a rate fits the training set, or its metric stops moving, or budget.max_steps",
    "not_compute_bound": "until a rate fits the training set",
    "saturated": "until train loss stops moving",
    "compute_bound": "one rung, since patience sets the length",
}


BOUGHT: Final = "what limits buy"
"""In the note of a phase whose length hours may buy instead: the one bound that nobody knows before a step is timed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedPhase:
    """A phase that may come: its trials, and for each trial its steps and about how many evaluations.

    `min_steps` and `max_steps` are per trial, before any step is shared. Evaluations are those of the shortest and the
    longest budget. `min_trials` is 0 for a phase that may not come at all; `note` says when it does.
    """

    name: str
    min_trials: int
    max_trials: int
    min_steps: int
    max_steps: int
    min_evals: int
    max_evals: int
    note: str


def closed_form_plan(config: StudyConfig) -> list[PlannedPhase]:
    """The phases of a study with the ranges of what they may need.

    Raises:
        ConfigError: if warmup outlasts `budget.first_guess_steps`.
    """
    check_first_guess(config)
    shortest, longest = _first_budget(config)
    first = _round_1(config, shortest, longest)
    phases = [_sweep(config), *_cooldown(config), *_instability_probe(config, shortest, longest), first]
    if config.workload_kind == "compute_bound":
        # Judged and reported, never adjusted.
        num_adjustments = 0
    else:
        phases += _probe(config, _without_production(config, first), of=ROUND_1, factor=1)
        num_adjustments = 0 if config.round_1.adjust == "none" else config.round_1.max_adjustments
    first = _without_production(config, first)
    for index in range(1, num_adjustments + 1):
        factor, name = GROWTH**index, f"{ROUND_1}.{index + 1}"
        phases += [_longer(config, first, factor=factor, name=name), *_probe(config, first, of=name, factor=factor)]
    if num_adjustments and config.round_1.decay_shares and has_plateau(config):
        phases.append(_decay(config, first, factor=GROWTH**num_adjustments))
    grown = max(longest, first.max_steps * GROWTH**num_adjustments)
    phases += _with_production(config, _later_rounds(config, shortest=shortest, longest=grown))
    phases += _frontier(config, phases)
    return [_cut(config, phase) for phase in phases]


def _cut(config: StudyConfig, phase: PlannedPhase) -> PlannedPhase:
    """What limits may leave of a phase: seeds go first, then points, then whole phases; no run that is too long."""
    if phase.name in (SWEEP, COOLDOWN):
        return phase
    if config.limits.run_hours is not None and phase.name != ROUND_1 and not _is_bought(config, phase):
        phase = replace(phase, min_trials=0, note=f"{phase.note}; not if it is longer than limits.run_hours buy")
    if config.limits.study_hours is None:
        return phase
    least = min(phase.min_trials, 1) if phase.name == ROUND_1 else 0
    return replace(phase, min_trials=least, note=f"{phase.note}; fewer trials if limits.study_hours asks for it")


def _is_bought(config: StudyConfig, phase: PlannedPhase) -> bool:
    """Whether limits.run_hours are what a phase has its length from, or more than it can have."""
    is_later = phase.name in [round_name(place) for place in range(len(config.later_rounds))]
    all_auto = all(item.budget_multiple == "auto" for item in config.later_rounds)
    return is_later and all_auto and config.workload_kind == "compute_bound"


def _sweep_budget(config: StudyConfig) -> tuple[int, int]:
    """The sweep may find a fit at its first evaluation, or at the last step it is allowed."""
    guess = config.budget.first_guess_steps
    longest = guess if config.workload_kind == "compute_bound" else config.budget.max_steps
    return min(eval_cadence(config, guess), guess), longest


def _first_budget(config: StudyConfig) -> tuple[int, int]:
    """Round 1's budget: one that the sweep may find, or 10 % of the production length."""
    shortest, longest = _sweep_budget(config)
    stated = config.budget.production_steps
    if stated is None:
        return shortest, config.budget.max_steps
    tenth = round_1_steps(stated)
    if config.workload_kind == "compute_bound" and config.limits.run_hours is None:
        return tenth, tenth
    return min(shortest, tenth), max(longest, tenth)


def _without_production(config: StudyConfig, first: PlannedPhase) -> PlannedPhase:
    """Round 1 as far as it may be adjusted: at a budget that the sweep found."""
    if config.workload_kind == "compute_bound":
        return first
    shortest, longest = _sweep_budget(config)
    return replace(first, min_steps=shortest, max_steps=longest)


def _with_production(config: StudyConfig, planned: list[PlannedPhase]) -> list[PlannedPhase]:
    """The later rounds with the lengths that lead to production among their lengths."""
    stated = config.budget.production_steps
    if not has_length(config) or all(item.budget_multiple != "auto" for item in config.later_rounds):
        return planned
    if stated is None:
        return [replace(phase, note=f"{phase.note}; if compute-bound, {BOUGHT}") for phase in planned]
    is_certain = config.workload_kind == "compute_bound" and config.limits.run_hours is None
    lengths = [round(each) for _, each in expected_lengths(config, round_1_steps(stated), production=stated)]
    known = []
    for phase, length in zip(planned, lengths, strict=True):
        is_last = phase is planned[-1]
        where = "at the production length" if is_last else f"at {steps(length)}, on the way to the production length"
        phase = replace(phase, note=f"{phase.note}; if compute-bound, {where}")
        low, high = min(length, phase.min_steps), max(length, phase.max_steps)
        if is_certain:
            low = high = length
            min_evals, max_evals = _evals(config, low, high)
            phase = replace(phase, min_evals=min_evals, max_evals=max_evals)
        known.append(replace(phase, min_steps=low, max_steps=high))
    return known


def _cooldown(config: StudyConfig) -> list[PlannedPhase]:
    """Only a compute-bound study, whose length is known, compares its rates after a cooldown."""
    if not has_length(config):
        return []
    guess, longest = config.budget.first_guess_steps, _sweep_budget(config)[1]
    num_rates, every = config.budget_sweep.learning_rates.num_rates, eval_cadence(config, guess)
    # Hours may cut the first rung, to two evaluations after the warmup.
    shortest = min(guess, measuring_steps(config) + every)
    min_steps, max_steps = shortest + cooldown_steps(shortest), longest + cooldown_steps(longest)
    return [
        PlannedPhase(
            name=COOLDOWN,
            min_trials=0,
            max_trials=num_rates if longest <= 4 * guess else max(SURVIVORS, num_rates),
            min_steps=min_steps,
            max_steps=max_steps,
            min_evals=ceil(min_steps / every),
            max_evals=ceil(max_steps / every) + 1,
            note="only if compute-bound: the rates decay briefly from their last step, to name the best",
        )
    ]


def _sweep(config: StudyConfig) -> PlannedPhase:
    shortest, longest = _sweep_budget(config)
    cadence = eval_cadence(config, config.budget.first_guess_steps)
    num_rates, widenings = config.budget_sweep.learning_rates.num_rates, config.budget_sweep.max_widenings
    return PlannedPhase(
        name=SWEEP,
        min_trials=num_rates,
        max_trials=num_rates + widenings,
        min_steps=shortest,
        max_steps=longest,
        min_evals=1,
        max_evals=ceil(longest / cadence),
        note=f"{_END_OF_SWEEP[config.workload_kind]}; beyond the given rates only while the fastest lies on an edge",
    )


def _instability_probe(config: StudyConfig, shortest: int, longest: int) -> list[PlannedPhase]:
    """Only when asked for: one short run, and a run for each longer warmup while it is unstable."""
    if not config.budget_sweep.probe_instability:
        return []
    least, most = planned_steps(config, shortest)[0], planned_steps(config, longest)[1]
    return [
        PlannedPhase(
            name=INSTABILITY_PROBE,
            min_trials=1,
            max_trials=1 + len(WARMUP_LENGTHS if longest >= SHORT_BUDGET else SHORT_WARMUP_SHARES),
            min_steps=least,
            max_steps=most,
            min_evals=min(least, MOST_EVALUATIONS),
            max_evals=MOST_EVALUATIONS,
            note="at twice the best rate, evaluated at every step; longer warmups only while it is unstable",
        )
    ]


def _round_1(config: StudyConfig, shortest: int, longest: int) -> PlannedPhase:
    min_evals, max_evals = _evals(config, shortest, longest)
    return PlannedPhase(
        name=ROUND_1,
        min_trials=config.round_1.num_trials,
        max_trials=config.round_1.num_trials + (num_extra_points(config) if may_widen(config) else 0),
        min_steps=shortest,
        max_steps=longest,
        min_evals=min_evals,
        max_evals=max_evals,
        note=_round_1_note(config)
        + ("; more points only if the best is on an edge of the rates" if may_widen(config) else ""),
    )


def _round_1_note(config: StudyConfig) -> str:
    fastest = "at the number of steps of the fastest rate"
    if not has_length(config):
        return fastest
    timed = config.limits.run_hours is not None or config.limits.study_hours is not None
    bought = f", at most {BOUGHT}, which the sweep measures" if timed else ""
    if config.workload_kind == "compute_bound":
        return f"at 10 % of the production length{bought}"
    return f"{fastest}; if compute-bound, at 10 % of the production length{bought}"


def _longer(config: StudyConfig, first: PlannedPhase, *, factor: int, name: str) -> PlannedPhase:
    # The cadence of `auto` doubles with the budget; a given one stays.
    more = 1 if config.evaluation.every_steps == "auto" else factor
    return PlannedPhase(
        name=name,
        min_trials=0,
        max_trials=first.max_trials,
        min_steps=first.min_steps * factor,
        max_steps=first.max_steps * factor,
        min_evals=first.min_evals * more,
        max_evals=first.max_evals * more,
        note="only if the budget before was too short; " + _start(config),
    )


def _probe(config: StudyConfig, first: PlannedPhase, *, of: str, factor: int) -> list[PlannedPhase]:
    """The probe of a round at `factor` times the first budget."""
    if not may_probe(config):
        return []
    longer = _longer(config, first, factor=GROWTH * factor, name=probe_name(of))
    unless = ", unless averaged weights show that longer gains nothing" if config.round_1.adjust == "averaged" else ""
    note = f"only if nearly all best steps are late{unless}; forked from the best plateaus"
    return [replace(longer, max_trials=min(NUM_PROBED, first.max_trials), note=note)]


def _decay(config: StudyConfig, first: PlannedPhase, *, factor: int) -> PlannedPhase:
    shortest, longest = (_longer(config, first, factor=by, name=DECAY) for by in (GROWTH, factor))
    return replace(
        longest,
        min_steps=shortest.min_steps,
        min_evals=min(shortest.min_evals, longest.min_evals),
        max_trials=min(NUM_RETUNED, first.max_trials) * len(config.round_1.decay_shares),
        note="only if the budget grew; decays of other lengths, forked from the best plateaus",
    )


def _later_rounds(config: StudyConfig, *, shortest: int, longest: int) -> list[PlannedPhase]:
    """Each a multiple of the one before, from the shortest and from the longest budget of round 1."""
    # A first good step is never before the first evaluation.
    low = min(shortest, ceil(MARGIN_OVER_GOOD_STEP * eval_cadence(config, shortest)))
    high, before, planned = longest, "round 1", list[PlannedPhase]()
    shares = _ratios(config)
    for place, item in enumerate(config.later_rounds):
        chosen, num_points = item.budget_multiple, min(item.num_trials, config.round_1.num_trials)
        least, most = (1.0, float(GROWTH)) if chosen == "auto" else (chosen, chosen)
        is_as_long = max(1, round((shares[place] if chosen == "auto" else least) * low)) <= low
        low, high = max(1, round(least * low)), round(most * high)
        told = f"{chosen:g} x" if chosen != "auto" else f"1 x, or {GROWTH} x if longer may still gain,"
        min_evals, max_evals = _evals(config, low, high)
        seeds = "first seed" if place == 0 else "seeds it had"
        # A round after round 2 is left out where it would repeat the one before.
        may_repeat = place > 0 and is_as_long and item.num_seeds <= config.later_rounds[place - 1].num_seeds
        phase = PlannedPhase(
            name=round_name(place),
            min_trials=0 if may_repeat else item.num_seeds,
            max_trials=item.num_seeds * num_points + has_twin(config, item),
            min_steps=low,
            max_steps=high,
            min_evals=min_evals,
            max_evals=max_evals,
            note=f"{told} {before}'s budget, {_start(config)}" + (f" for the {seeds}" if has_plateau(config) else ""),
        )
        planned.append(phase)
        before = phase.name.replace("_", " ")
    return planned


def _ratios(config: StudyConfig) -> list[float]:
    """The least that each later round is longer than the one before if its multiple is left to the study."""
    if config.workload_kind != "compute_bound":
        return [1.0 for _ in config.later_rounds]
    lengths = [ROUND_1_SHARE, *(each for _, each in expected_lengths(config, ROUND_1_SHARE, production=1.0))]
    return [after / before for before, after in pairwise(lengths)]


def _frontier(config: StudyConfig, before: list[PlannedPhase]) -> list[PlannedPhase]:
    """As long as the answer's run: round 1's, or that of the last later round."""
    if config.frontier is None:
        return []
    asked, rounds = config.frontier, [phase for phase in before if phase.name.startswith("round_")]
    low, high = min(phase.min_steps for phase in rounds), max(phase.max_steps for phase in rounds)
    given = asked.budgets
    num_budgets = asked.num_budgets if given is None else len(given)
    shortest, longest = (max(1, low // 2), high) if given is None else (min(given), max(given))
    min_evals, max_evals = _evals(config, shortest, longest)
    num_trunks = asked.num_seeds + asked.half_rate
    num_trials = num_trunks * (1 + asked.num_calibrations if asked.proxy else num_budgets)
    note = "cooldowns forked off a trunk of the answer's rate" + (" and one at half of it" if asked.half_rate else "")
    if asked.proxy:
        trunks = "1 trunk goes" if num_trunks == 1 else f"{num_trunks} trunks go"
        note = (
            f"{trunks} on at a constant rate, every evaluation a budget that averaged weights judge; "
            f"{asked.num_calibrations} cooldowns forked off each calibrate them"
        )
    else:
        note += ", for each budget that holds the warmup and a decay"
    return [
        PlannedPhase(
            name=FRONTIER,
            min_trials=0,
            max_trials=num_trials,
            min_steps=shortest,
            max_steps=longest,
            min_evals=min_evals,
            max_evals=max_evals,
            note=note,
        )
    ]


def _start(config: StudyConfig) -> str:
    if has_plateau(config):
        return "forked from its plateaus"
    return f"trained anew: {config.training.schedule} shares no more than the warmup"


def _evals(config: StudyConfig, shortest: int, longest: int) -> tuple[int, int]:
    counts = [ceil(budget / eval_cadence(config, budget)) for budget in (shortest, longest)]
    return min(counts), max(counts)
