"""Proxies of a frontier: corrected by what real cooldowns say, and refused where these contradict them."""

from __future__ import annotations

from typing import Any

import pytest

from tuner.analysis.calibration import calibrate
from tuner.analysis.proxy_frontier import ProxyFrontier, Trunk, proxy_frontier
from tuner.records import Curve

STEPS = range(40, 401, 40)


def line(*, falls: float = 0.5, until: int = 400, start: float = 2.0) -> Curve:
    return tuple((step, start - falls * min(step, until) / until) for step in STEPS)


def trunk(*, offset: Any = lambda step: 0.0, **shape: Any) -> Trunk:
    """Averages that differ from what decays reach by `offset`; two cooldowns at 200 and 400."""
    reached = line(**shape)
    return Trunk(
        rate=1e-3,
        curve=tuple((step, value + 0.2) for step, value in reached),
        averaged={50: tuple((step, value + offset(step)) for step, value in reached)},
        ends={step: value for step, value in reached if step in (200, 400)},
    )


def found(*trunks: Trunk, deviation: float | None = 0.01) -> ProxyFrontier:
    return proxy_frontier(list(trunks), "minimize", first_budget=200, decay_share=0.2, deviation=deviation)


def test_a_constant_error_is_taken_off_and_nothing_of_it_remains() -> None:
    proxies = found(trunk(offset=lambda step: 0.125, until=320))
    assert proxies.refusal is None
    expected = [value for step, value in line(until=320) if step >= 200]
    assert [point.value for point in proxies.frontier.points] == pytest.approx(expected)
    assert proxies.calibration is not None
    assert (proxies.calibration.mean_error, proxies.calibration.residual) == pytest.approx((0.125, 0.0))
    assert proxies.frontier.knee == 320


def test_every_evaluation_from_the_first_budget_on_is_a_budget() -> None:
    assert [point.budget for point in found(trunk()).frontier.points] == [200, 240, 280, 320, 360, 400]


def test_the_horizon_whose_errors_scatter_least_is_taken_not_the_one_with_the_least_mean() -> None:
    chosen = calibrate({20: [2.0, 1.5], 200: [2.5, 2.25]}, [1.75, 1.5])
    assert (chosen.horizon, chosen.mean_error, chosen.spread) == (200, 0.75, 0.0)


def test_an_error_above_both_the_seed_deviation_and_a_quarter_of_the_range_is_refused() -> None:
    drifting = trunk(offset=lambda step: 0.3 * step / 400)
    refusal = found(drifting).refusal
    assert refusal is not None
    assert "its error after correction, up to 0.075, hides what is to be seen" in refusal
    assert found(drifting, deviation=0.08).refusal is None, "as good as a run of another seed"
    assert "the seed deviation is unknown" in (found(drifting, deviation=None).refusal or "")


def test_cooldowns_in_the_wrong_order_are_refused_if_they_differ_by_more_than_the_error() -> None:
    # The range, which the value at 240 makes, would let the error pass.
    turned = Trunk(
        rate=1e-3, curve=(), averaged={50: ((200, 1.0), (240, 0.2), (400, 1.01))}, ends={200: 1.0, 400: 0.85}
    )
    refusal = found(turned, deviation=None).refusal
    assert refusal is not None
    assert "wrong order that differ by 0.15, more than its error after correction, 0.08" in refusal
    assert found(turned, deviation=0.2).refusal is None, "seeds alone differ by as much"


def test_fewer_than_two_real_cooldowns_calibrate_nothing() -> None:
    lonely = trunk()
    proxies = found(Trunk(rate=1e-3, curve=lonely.curve, averaged=lonely.averaged, ends={400: 1.5}))
    assert proxies.calibration is None
    assert proxies.refusal == "fewer than 2 real cooldowns can be compared with it"


def test_ties_are_no_disorder_and_a_flat_frontier_is_best_at_its_smallest_budget() -> None:
    proxies = found(trunk(falls=0.0), deviation=None)
    assert proxies.refusal is None
    assert proxies.calibration is not None
    assert (proxies.calibration.num_concordant, proxies.calibration.num_pairs) == (0, 0)
    assert (proxies.frontier.best, proxies.frontier.knee) == (200, None)


def test_a_run_may_go_back_to_the_best_of_its_plateau() -> None:
    """Where longer training overfits, a budget is worth what its plateau had reached before the decay."""
    rising = tuple((step, 1.0 + step / 400) for step in STEPS)
    over = Trunk(rate=1e-3, curve=rising, averaged={50: rising}, ends={200: 1.5, 400: 2.0})
    proxies = proxy_frontier([over], "minimize", first_budget=200, decay_share=0.2, deviation=0.01)
    assert {point.value for point in proxies.frontier.points} == {1.1}


def test_seeds_of_a_rate_give_the_deviation_that_the_knee_is_judged_by() -> None:
    proxies = found(trunk(start=2.0), trunk(start=2.02), deviation=None)
    assert proxies.frontier.deviation == pytest.approx(0.0141, abs=1e-4)
    assert all(point.num_seeds == 2 for point in proxies.frontier.points)
