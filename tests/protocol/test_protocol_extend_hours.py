"""An extension that `limits.study_hours` does not hold: what is left out is told, once, and the rest is done."""

from __future__ import annotations

from typing import Any

import pytest
from synthetic import Lab, config_of, trained
from test_protocol_extend import ROUND, ended, improving, names

from tuner.protocol.limits import is_left_out
from tuner.protocol.measured import Measured

FEW = {"num_trials": 3}
LATE = {"num_trials": 6, "adjust": "none", "decay_shares": []}


def in_hours(hours: float | None, **sections: Any) -> Any:
    return config_of(limits={"study_hours": hours}, **sections)


def begun(**sections: Any) -> Lab:
    """A study at one second a step, with hours enough."""
    return Lab(in_hours(100, **sections), trained(improving), seconds_per_step=lambda done: 1.0)


def extend(lab: Lab, hours: float, **sections: Any) -> Lab:
    """So many hours more than it has used, and other settings."""
    return lab.extend(in_hours(lab.measured.elapsed_seconds / 3600 + hours, **sections), max_moves=90)


def cuts(lab: Lab) -> list[str]:
    told = [decision.reason for decision in lab.decisions if decision.kind == "cut"]
    return [reason.partition("; uncut")[0].partition(": ")[2] for reason in told]


@pytest.mark.parametrize(
    ("before", "after", "skipped", "hours"),
    [
        ({"round_1": FEW}, {"round_1": {"num_trials": 9}}, "round_1.added", 1.0),
        ({"round_2": ROUND}, {"round_2": {**ROUND, "budget_multiple": 4}}, "round_2.2", 5280 / 3600),
        (
            {"round_1": {**LATE, "adjust": "raw", "max_adjustments": 0}},
            {"round_1": {**LATE, "adjust": "raw", "max_adjustments": 1}},
            "round_1.2",
            2880 / 3600,
        ),
        ({"round_1": LATE}, {"round_1": {**LATE, "adjust": "probe"}}, "round_1.probe", 2160 / 3600),
    ],
)
def test_what_the_hours_do_not_hold_is_left_out_whole_and_the_answer_stays(
    before: dict[str, Any], after: dict[str, Any], skipped: str, hours: float
) -> None:
    lab = begun(**before).play(max_moves=90)
    phases, answer = lab.phases.copy(), ended(lab).answer
    extend(lab, hours - 0.01, **after)
    assert lab.phases == phases
    assert ended(lab).answer == answer
    assert cuts(lab) == [f"{skipped} is skipped"]
    assert is_left_out(lab.study, skipped)
    # With hours enough it is done.
    extend(lab, 100, **after)
    assert skipped in names(lab)
    assert not is_left_out(lab.study, skipped)


def test_what_fits_beside_it_is_done() -> None:
    one = {**ROUND, "num_trials": 1, "num_seeds": 1}
    lab = begun(round_1=FEW, round_2=None, rounds=[one]).play(max_moves=90)
    extend(lab, 0.6, round_1={"num_trials": 9}, round_2=None, rounds=[one, {**one, "budget_multiple": 1.5}])
    assert names(lab) == ["budget_sweep", "round_1", "round_2", "round_3"]
    assert cuts(lab) == ["round_1.added is skipped"]


def test_a_round_that_is_open_goes_on_when_what_was_to_join_another_is_left_out() -> None:
    lab = begun(round_1=FEW).play(max_moves=90, until="round_2")
    assert not lab.phases[-1].is_closed
    at_once = begun(round_1=FEW).play(max_moves=90)
    lab.extend(in_hours(lab.measured.elapsed_seconds / 3600 + 1.4, round_1={"num_trials": 12}), max_moves=90)
    assert names(lab) == ["budget_sweep", "round_1", "round_2"]
    assert all(phase.is_closed for phase in lab.phases)
    assert lab.phases == at_once.phases
    assert ended(lab).answer == ended(at_once).answer
    assert cuts(lab) == ["round_1.added is skipped"]


def test_points_that_an_extension_adds_to_an_open_round_are_held_to_the_hours_too() -> None:
    lab = begun(round_1=FEW, round_2=None).play(max_moves=90, until="round_1")
    extend(lab, 0.7, round_1={"num_trials": 9}, round_2=None)
    assert len(lab.trials("round_1")) == 3
    assert cuts(lab) == ["nothing more joins round_1"]
    extend(lab, 2, round_1={"num_trials": 9}, round_2=None)
    assert len(lab.trials("round_1.added")) == 6


def test_a_frontier_that_fits_is_measured_though_more_points_did_not() -> None:
    lab = begun(round_1=FEW).play(max_moves=90)
    extend(lab, 0.9, round_1={"num_trials": 9})
    assert cuts(lab) == ["round_1.added is skipped"]
    few = {"budgets": [900, 1200], "half_rate": False}
    lab.config = lab.config.model_copy(update={"frontier": in_hours(None, frontier=few).frontier})
    lab.play(max_moves=90)
    assert names(lab)[-1] == "frontier"
    assert lab.kinds().count("cut") == 1
    assert lab.measured != Measured()
