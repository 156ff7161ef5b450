"""A run that is evaluated at every step: wiggles of its first updates are no divergence, a blow-up is."""

from __future__ import annotations

import math
import random

import pytest

from tuner.analysis.divergence import is_diverged


def first_alarm(losses):
    curve = tuple(enumerate(losses, 1))
    steps = range(1, len(curve) + 1)
    return next((step for step in steps if is_diverged(curve[:step], initial_loss=4.0, at_every_step=True)), None)


def falling(num_steps, *, noise=0.0, seed=0):
    generator = random.Random(seed)
    return [1 + 3 * math.exp(-step / 60) + generator.gauss(0, noise) for step in range(num_steps)]


@pytest.mark.parametrize("seed", range(10))
def test_a_noisy_fall_is_stable(seed):
    assert first_alarm(falling(300, noise=0.1, seed=seed)) is None


def test_a_wiggle_of_the_first_updates_is_no_divergence():
    # As seen on a small network whose momentum overshoots once; it goes on as one that did the same and recovered.
    losses = [0.703, 0.692, 0.669, 0.646, 0.637, 0.647, 0.678, 0.736]
    losses += [0.719, 0.698, 0.684, 0.688, 0.658, 0.640, 0.639, 0.644, 0.643]
    assert is_diverged(tuple(enumerate(losses[:8], 1)))
    assert first_alarm(losses) is None


def test_a_blow_up_is_found_within_ten_steps():
    losses = falling(100) + [4.5] * 50
    assert 101 <= first_alarm(losses) <= 110


def test_a_run_that_blows_up_at_once_is_found_by_the_untrained_loss():
    assert first_alarm([4.0, 5.0] + [8.0] * 20) <= 12
