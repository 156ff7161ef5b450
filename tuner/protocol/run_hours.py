"""`limits.run_hours`: a hard cap on every run of every phase, in the steps that they buy.

Neither fewer seeds nor fewer points make a run shorter: what is too long is left out whole, and said so (PROTOCOL 1).
"""

from __future__ import annotations

from tuner.config.schema import StudyConfig
from tuner.protocol.generations import CUT
from tuner.protocol.limits import measured_numbers
from tuner.protocol.measured import SECONDS_PER_HOUR, Measured
from tuner.protocol.rounds import ROUND_1
from tuner.protocol.words import json_safe, number, steps
from tuner.records import Decision, StudyRecord


def beyond_run_hours(
    config: StudyConfig, study: StudyRecord, measured: Measured, *, longest: int, what: str, remedy: str = ""
) -> Decision | None:
    """The decision to leave out runs of `longest` updates; None if run_hours buy them, or were not given.

    The length that a compute-bound study was given binds; before it, and without it, the step time measured so far.
    """
    hours = config.limits.run_hours
    # Setup and checkpoints are most of a short run and little of a long one.
    measured = measured.training_only()
    decided = next((d.numbers for d in reversed(study.decisions) if d.numbers.get("steps_bought") is not None), {})
    each = decided.get("seconds_per_step", measured.seconds_per_step)
    if hours is None or each is None:
        return None
    bought = int(decided.get("steps_bought", hours * SECONDS_PER_HOUR / each))
    if longest - _rounding(study, longest) <= bought:
        return None
    enough = number(1.05 * longest * each / SECONDS_PER_HOUR)
    reason = (
        f"limits.run_hours={number(hours)} buys {steps(bought)} at the measured {number(each)} seconds per step: "
        f"{what}; raise limits.run_hours to {enough}{remedy}."
    )
    numbers = {"run_hours": hours, "max_train_steps": longest, **measured_numbers(measured)}
    return Decision(kind=CUT, reason=reason, numbers=json_safe({**numbers, "seconds_per_step": each, "buys": bought}))


def _rounding(study: StudyRecord, longest: int) -> float:
    """Steps by which multiples of round 1's rounded budget may miss what was bought: no more than one of its own."""
    budgets = [phase.plan.max_train_steps for phase in study.phases if phase.name == ROUND_1]
    return longest / budgets[0] if budgets else 0.0
