"""What `limits.study_hours` leaves of the sweep: its first rung is measured before it is run, later ones are capped.

Under limited hours every rate trains to its first evaluation after the warmup, and what that took says how far the
first rung may go. Where it may go all the way nothing else changes: those steps are part of the rung, and no number
depends on timing.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import ceil
from typing import Final

from tuner.analysis.verdict import MIN_FEASIBLE_TRIALS
from tuner.config.schema import StudyConfig
from tuner.protocol.cooldown import cooldown_steps
from tuner.protocol.failures import give_up, goes_on
from tuner.protocol.limits import SWEEP_SHARE, cost, cut, fits, measured_numbers, seconds_left, speed
from tuner.protocol.measured import SECONDS_PER_HOUR, Measured
from tuner.protocol.run_hours import beyond_run_hours
from tuner.protocol.runs import eval_cadence, warmup_steps
from tuner.protocol.standings import FITTED
from tuner.protocol.words import number, steps
from tuner.records import Decision, GiveUp, PhaseRecord, RaiseTarget, StudyRecord

SWEEP: Final = "budget_sweep"


def measuring_steps(config: StudyConfig) -> int:
    """Where every rate of the sweep waits first: at its first evaluation after the warmup, if hours are limited."""
    first_guess = config.budget.first_guess_steps
    if config.limits.study_hours is None:
        return first_guess
    every = eval_cadence(config, first_guess)
    return min(every * max(1, ceil(warmup_steps(config, first_guess) / every)), first_guess)


def first_rung(config: StudyConfig, phase: PhaseRecord, measured: Measured) -> RaiseTarget | GiveUp | None:
    """The rates that wait where they were measured go on, as far as the hours hold; None if they are beyond that."""
    at, first_guess = measuring_steps(config), config.budget.first_guess_steps
    going = [trial for trial in phase.trials if trial.state == "paused"]
    rung = max(trial.spec.max_train_steps for trial in phase.trials)
    is_settled = phase.plan.stop_when_dominated and any(trial.outcome == FITTED for trial in phase.trials)
    if rung != at or at >= first_guess or is_settled or not going:
        return None
    # Setup is most of what a first evaluation takes, and is not paid again for each step.
    measured, rule = measured.training_only(), _rule(config, phase, len(going))
    target = min(first_guess, _affordable(config, rule, measured))
    least = min(first_guess, at + eval_cadence(config, first_guess))
    if target < least:
        return _holds_no_sweep(config, rule, measured, target=target, least=least)
    ids = tuple(trial.trial for trial in sorted(going, key=lambda trial: trial.number))
    more = {"num_steps": len(going) * (first_guess - at), "longest": first_guess - at}
    if target == first_guess:
        told = cost(SWEEP, config, measured, num_trials=len(going), **more)
    else:
        what = f"the sweep's first rung has {target:,} of {steps(first_guess)}, since {rule.told}"
        told = cut(SWEEP, what, config, measured, **more)
    return RaiseTarget(phase=SWEEP, trials=ids, max_train_steps=target, decisions=(told,))


def cap(
    config: StudyConfig, study: StudyRecord, rung: RaiseTarget, *, current: int, measured: Measured
) -> Decision | None:
    """The decision to end the sweep before a rung beyond its share of the study's hours, or beyond what one run may
    take with the cooldown after it; None if they hold it."""
    ends, each = f"the sweep ends before its rung of {steps(rung.max_train_steps)}", rung.max_train_steps
    too_long = beyond_run_hours(
        config,
        study,
        measured,
        longest=each + cooldown_steps(each),
        what=f"{ends}, {steps(each + cooldown_steps(each))} with its cooldown",
    )
    if too_long is not None:
        return replace(too_long, phase=rung.phase)
    longest = rung.max_train_steps - current
    more = len(rung.trials) * longest
    if fits(config, measured, more, share=SWEEP_SHARE, longest=longest):
        return None
    what = f"{ends}, beyond its 15 % of the hours"
    return cut(rung.phase, what, config, measured, num_steps=more, longest=longest)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Rule:
    """What share of the hours the first rung must fit into, beside how many points of round 1 of the same length."""

    share: float
    num_rates: int
    num_points: int
    told: str

    def in_a_row(self, measured: Measured) -> float:
        """Runs of that length, one after the other, that the workers need for the rung and for what follows it."""
        return _in_a_row(self.num_rates, measured) + _in_a_row(self.num_points, measured)


def _rule(config: StudyConfig, phase: PhaseRecord, num_rates: int) -> _Rule:
    """A sweep with a threshold may find its budget on the first rung, and one without cannot end there."""
    if phase.plan.fit is None:
        return _Rule(share=SWEEP_SHARE, num_rates=num_rates, num_points=0, told="15 % of the hours are the sweep's")
    num_points = min(config.round_1.num_trials, MIN_FEASIBLE_TRIALS)
    told = f"a longer budget would leave no room for {num_points} points of round 1"
    return _Rule(share=1.0, num_rates=num_rates, num_points=num_points, told=told)


def _in_a_row(count: int, measured: Measured) -> float:
    return max(count / measured.num_workers, min(count, 1))


def _affordable(config: StudyConfig, rule: _Rule, measured: Measured) -> int:
    """The longest first rung that the hours hold, in whole evaluations."""
    each, every = measured.seconds_per_step, eval_cadence(config, config.budget.first_guess_steps)
    left = seconds_left(config, measured, share=rule.share)
    if each is None or left is None:
        return config.budget.first_guess_steps
    done = measuring_steps(config) * _in_a_row(rule.num_rates, measured)
    return every * int(max(0.0, left / each + done) / rule.in_a_row(measured) / every)


def _holds_no_sweep(config: StudyConfig, rule: _Rule, measured: Measured, *, target: int, least: int) -> GiveUp:
    first_guess, hours = config.budget.first_guess_steps, number(config.limits.study_hours or 0)
    done = measuring_steps(config) * _in_a_row(rule.num_rates, measured)
    more = (first_guess * rule.in_a_row(measured) - done) * (measured.seconds_per_step or 0.0)
    enough = (measured.elapsed_seconds + more) / rule.share / SECONDS_PER_HOUR
    reason = (
        f"limits.study_hours={hours} holds no sweep: {rule.told}, and so its first rung of {rule.num_rates} rates may "
        f"have {steps(target)}, where two evaluations after the warmup take {least} ({speed(measured)}). "
        f"Raise limits.study_hours ({number(1.05 * enough)} hold the first rung as it is), or lower "
        f"budget.first_guess_steps={first_guess}; {goes_on(config, 'limits.study_hours')}"
    )
    return give_up(reason, phase=SWEEP, numbers=measured_numbers(measured))
