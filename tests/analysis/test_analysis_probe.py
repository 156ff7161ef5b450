"""What a longer budget gained, and whether the gain counts."""

from __future__ import annotations

from random import Random

import pytest

from tuner.analysis.probe import ProbeGain, measure_probe
from tuner.analysis.second_metric import compare_with_loss
from tuner.records import Curve


def curve(last: float, noise: float = 0.0, count: int = 25) -> Curve:
    rng = Random(round(1000 * last))
    return tuple((10 * i, 3.0 - (3.0 - last) * i / count + rng.gauss(0, noise)) for i in range(1, count + 1))


def gain(
    short: float, long: float, *, noise: float = 0.0, min_gain: float = 0.01, seeds: float | None = None
) -> ProbeGain:
    pairs = [(curve(short, noise), curve(long, noise))] * 3
    return measure_probe(pairs, direction="minimize", min_gain=min_gain, seed_deviation=seeds)


def test_a_gain_must_exceed_its_share_of_the_value() -> None:
    assert gain(2.0, 1.97).is_gain
    assert not gain(2.0, 1.985).is_gain
    assert gain(2.0, 1.985, min_gain=0.0).is_gain


def test_a_gain_must_exceed_the_seed_deviation_where_that_is_known() -> None:
    assert gain(2.0, 1.9, seeds=0.05).is_gain
    found = gain(2.0, 1.9, seeds=0.2)
    assert (found.is_gain, found.is_seed_deviation, found.chance) == (False, True, 0.2)


def pairs_of(*gains: float) -> list[tuple[Curve, Curve]]:
    return [(curve(2.0), curve(2.0 - each)) for each in gains]


def test_gains_that_agree_are_no_chance_where_gains_that_scatter_are() -> None:
    # Student's one-sided 90 % quantile for 2 degrees of freedom is 1.886: standard errors of 0.0058 and 0.058.
    agree = measure_probe(pairs_of(0.09, 0.1, 0.11), direction="minimize", min_gain=0.01)
    scatter = measure_probe(pairs_of(0.0, 0.1, 0.2), direction="minimize", min_gain=0.01)
    assert (agree.mean_gain, scatter.mean_gain) == (pytest.approx(0.1), pytest.approx(0.1))
    assert (agree.chance, scatter.chance) == (pytest.approx(0.01089, rel=1e-3), pytest.approx(0.1089, rel=1e-3))
    assert (agree.is_gain, scatter.is_gain) == (True, False)
    assert not agree.is_seed_deviation


def test_one_pair_cannot_tell_a_gain_from_chance() -> None:
    assert not measure_probe(pairs_of(0.5), direction="minimize", min_gain=0.01).is_gain


def test_a_loss_is_a_negative_gain_in_either_direction() -> None:
    assert gain(2.0, 2.5).mean_gain == pytest.approx(-0.5)
    pairs = [(((1, 0.5), (2, 0.8)), ((1, 0.5), (4, 0.7)))]
    assert measure_probe(pairs, direction="maximize", min_gain=0.01).mean_gain == pytest.approx(-0.1)


def test_nothing_cannot_be_measured() -> None:
    with pytest.raises(ValueError, match="at least one pair"):
        measure_probe([], direction="minimize", min_gain=0.01)
    with pytest.raises(ValueError, match="no best value"):
        measure_probe([((), ())], direction="minimize", min_gain=0.01)


def test_bands_of_loss_and_objective_are_compared_by_the_median_trial() -> None:
    accuracy = {1: ((50, 0.6), (100, 0.9)), 2: ((50, 0.6), (100, 0.8))}
    loss = {1: ((50, 0.3), (100, 0.5)), 2: ((50, 0.3), (100, 0.6))}
    found = compare_with_loss(accuracy, loss, 100, direction="maximize")
    assert found is not None
    assert (found.objective_band, found.loss_band, found.differs) == ("the last 25 %", "the middle", True)
    assert compare_with_loss(accuracy, {}, 100, direction="maximize") is None
