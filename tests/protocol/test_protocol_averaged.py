"""`round_1.adjust: averaged`: the probe is skipped only where averaged weights show what it would measure."""

from __future__ import annotations

import math
from collections.abc import Callable

from synthetic import Lab, config_of, trained

from tuner.records import Decision, RunSpec

DECAY_GAIN = 0.1


def flat(step: int) -> float:
    return 1.5


def still_improving(step: int) -> float:
    return 1.0 + 600 / (600 + step)


def play(progress: Callable[[int], float], *, adjust: str = "averaged", seen: float | None = DECAY_GAIN) -> Lab:
    """Averages that see so much of the decay's gain; None: nothing measures them."""

    def averaged(spec: RunSpec, step: int, horizon: int) -> float:
        decades = math.log10(spec.learning_rate / 1e-3)
        return progress(step) - (seen or 0.0) + 0.5 * max(1.02 * decades, -decades)

    config = config_of(round_1={"num_trials": 6, "adjust": adjust, "max_adjustments": 0})
    world = trained(progress, decay_gain=DECAY_GAIN)
    return Lab(config, world, averaged=None if seen is None else averaged).play(max_moves=80)


def phases(lab: Lab) -> list[str]:
    return [phase.name for phase in lab.phases if phase.plan.kind in ("round_1", "probe")]


def verdict(lab: Lab) -> Decision:
    return lab.decision("verdict", "round_1")


def test_a_plateau_whose_averages_had_all_that_the_decay_reached_is_adequate_without_a_probe() -> None:
    lab = play(flat)
    assert phases(lab) == ["round_1"]
    assert lab.study.phase("round_1").verdict == "adequate"
    assert "the probe is skipped: the averages had stopped to improve before the decay" in verdict(lab).reason
    assert verdict(lab).numbers["averaged"]["holds"]
    assert verdict(lab).numbers["averaged"]["good_in_time"][0]["count"] == 6


def test_averages_that_still_improve_leave_it_to_the_probe() -> None:
    lab = play(still_improving)
    assert phases(lab)[:2] == ["round_1", "round_1.probe"]
    assert lab.study.phase("round_1").verdict == "too short"
    assert "the probe is run: the averages had not stopped to improve" in verdict(lab).reason


def test_averages_that_do_not_see_what_the_decay_gains_leave_it_to_the_probe() -> None:
    lab = play(flat, seen=0.0)
    assert phases(lab) == ["round_1", "round_1.probe"]
    assert "the averages do not stand in for the decays here" in verdict(lab).reason


def test_without_averaged_curves_the_probe_decides() -> None:
    lab = play(flat, seen=None)
    assert phases(lab) == ["round_1", "round_1.probe"]
    assert "too few trials have averaged curves" in verdict(lab).reason
    assert "averaged" not in verdict(lab).numbers


def test_the_default_probes_whatever_the_averages_say_and_prints_them() -> None:
    lab = play(flat, adjust="probe")
    assert phases(lab) == ["round_1", "round_1.probe"]
    assert "weights averaged over 50 updates were, before the decay at" in verdict(lab).reason
    assert "probe is skipped" not in verdict(lab).reason
