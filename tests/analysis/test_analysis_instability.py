"""The arithmetic of instability: collapsed runs, neighbours of the best rate, warmups to try, norms to clip at."""

from __future__ import annotations

import pytest

from tuner.analysis.instability import (
    budget_for,
    ends_like_a_constant,
    gradient_norms,
    learned,
    unstable_next_to,
    warmups_to_try,
)


def curve(*values):
    return tuple((10 * place, value) for place, value in enumerate(values, 1))


def test_a_run_ends_like_a_constant_by_the_mean_of_its_last_three_losses():
    assert ends_like_a_constant(curve(2.0, 0.5, 1.0, 1.0, 1.0), 1.0)
    assert not ends_like_a_constant(curve(2.0, 1.0, 1.0, 0.99), 1.0)
    assert ends_like_a_constant(curve(0.9, 1.2, 0.95), 1.0)
    assert not ends_like_a_constant((), 1.0)


def test_to_have_learned_takes_one_percent_below_the_constant_predictor():
    assert learned(curve(2.0, 0.99, 0.99, 0.99), 1.0)
    assert not learned(curve(2.0, 0.995, 0.995, 0.995), 1.0)
    assert not learned((), 1.0)


@pytest.mark.parametrize(
    ("best", "rates", "neighbour"),
    [
        (1e-3, [(1e-3, False), (1e-2, True)], 1e-2),
        (1e-3, [(1e-3, False), (4e-3, False), (1e-2, True)], None),
        (1e-3, [(1e-3, False), (1.5e-3, False), (3e-3, True)], 3e-3),
        (1e-3, [(3e-4, True), (1e-3, False), (3e-3, False)], None),
        (1e-3, [(1e-3, False)], None),
        (1e-3, [(1e-3, True), (1e-3, False), (2e-3, False)], None),
    ],
    ids=["next on the grid", "one between", "within half a decade", "only below", "alone", "the same rate"],
)
def test_an_unstable_rate_counts_as_a_neighbour_of_the_best_only_when_it_is_near(best, rates, neighbour):
    assert unstable_next_to(best, rates) == neighbour
    assert unstable_next_to(best, reversed(rates)) == neighbour


@pytest.mark.parametrize(
    ("budget", "lengths"),
    [
        (100, [1, 3, 10]),
        (600, [6, 18, 60]),
        (9_999, [100, 300, 1000]),
        (10_000, [10, 1_000]),
        (99_999, [10, 1_000]),
        (100_000, [10, 1_000, 10_000]),
        (5_000_000, [10, 1_000, 10_000, 100_000]),
        (10, [1]),
        (1, []),
    ],
)
def test_warmups_are_the_playbooks_within_a_tenth_of_the_budget_or_shares_of_a_short_one(budget, lengths):
    assert [warmup.warmup_steps for warmup in warmups_to_try(budget)] == lengths


def test_a_warmup_is_prepended_and_asks_for_more_budget_beyond_five_percent():
    short, long = warmups_to_try(10_000)
    assert (long.warmup_steps, long.constant_steps, long.max_train_steps) == (1_000, 2_000, 11_000)
    assert (short.asks_for_more, long.asks_for_more) == (False, True)
    assert [warmup.asks_for_more for warmup in warmups_to_try(20_000)] == [False, False]


def test_only_warmups_longer_than_the_one_that_failed_are_tried():
    assert [warmup.warmup_steps for warmup in warmups_to_try(600, longer_than=30)] == [60]
    assert warmups_to_try(600, longer_than=60) == ()
    assert budget_for(61) == 610


def test_norms_are_medians_that_the_first_updates_do_not_move():
    found = gradient_norms([curve(90.0, 2.0, 2.0), curve(4.0, 4.0, 4.0), curve(3.0)], [curve(1.0, 0.0), ()])
    assert found is not None
    assert (found.p90, found.clipped_share) == (3.0, 0.5)
    assert gradient_norms([(), ()], []) is None
    assert gradient_norms([curve(1.0)], []).clipped_share is None
