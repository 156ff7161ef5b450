"""What averaged curves say about a budget: they count up to the decay, and only where that reached no more."""

from __future__ import annotations

from collections.abc import Callable

from tuner.analysis.averaged_steps import AveragedSteps, averaged_steps
from tuner.records import Curve

BUDGET, START = 1000, 800
STEPS = tuple(range(40, BUDGET + 1, 40))


def curve(progress: Callable[[int], float], level: float) -> Curve:
    return tuple((step, level + progress(step)) for step in STEPS)


def judged(
    plateau: Callable[[int], float], decayed: float, *, averaged: Callable[[int], float], num_trials: int = 8
) -> AveragedSteps:
    """Trials of falling quality whose decays end at `decayed` from their level."""
    levels = {trial: 1.0 + 0.1 * trial for trial in range(num_trials)}

    def progress(step: int) -> float:
        return plateau(step) if step <= START else decayed * (step - START) / (BUDGET - START)

    found = averaged_steps(
        {50: {trial: curve(averaged, level) for trial, level in levels.items()}},
        {trial: curve(progress, level) for trial, level in levels.items()},
        START,
        direction="minimize",
        leading=tuple(range(min(4, num_trials))),
        min_gain=0.01,
    )
    assert found is not None
    return found


def levelled(step: int) -> float:
    return 0.5 * max(0, 400 - step) / 400 - 0.1


def falling(step: int) -> float:
    return 0.5 * (1000 - step) / 1000 - 0.1


def test_averages_that_levelled_off_at_what_decays_reach_show_that_the_budget_is_enough() -> None:
    found = judged(lambda step: levelled(step) + 0.1, -0.1, averaged=levelled)
    assert found.holds
    assert found.has_stopped
    assert found.good_in_time[0].count == found.reached[0].count == 8
    assert found.median_first_good_step == 400


def test_averages_that_still_fall_before_the_decay_leave_the_question_open() -> None:
    found = judged(lambda step: falling(step) + 0.1, falling(1000), averaged=falling)
    assert not found.has_stopped
    assert found.gain_per_doubling > found.needed_gain


def test_decays_that_reach_more_than_the_averages_had_show_that_these_cannot_tell() -> None:
    """A high constant rate hides progress; in the decay itself the averages follow the decayed model."""
    found = judged(lambda step: 0.0, -0.1, averaged=lambda step: 0.0 if step <= START else -0.1 * (step - START) / 200)
    assert found.has_stopped
    assert not found.holds
    assert found.reached[0].count == 0


def test_fewer_than_five_trials_are_too_few() -> None:
    assert not judged(lambda step: levelled(step) + 0.1, -0.1, averaged=levelled, num_trials=4).holds


def test_without_averaged_curves_there_is_no_evidence() -> None:
    raw = {trial: curve(levelled, 1.0) for trial in range(6)}
    assert averaged_steps({50: {}}, raw, START, direction="minimize", leading=(0,), min_gain=0.01) is None
    assert averaged_steps({}, raw, START, direction="minimize", leading=(0,), min_gain=0.01) is None
