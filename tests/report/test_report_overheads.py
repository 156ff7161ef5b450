"""Shares of evaluation and of checkpoints: shown with their bounds, and warned of beyond them."""

from __future__ import annotations

import pytest
from sample_studies import BILL, make_config, quickstart_study

from tuner.report.overheads import shares_line, warnings
from tuner.report.sections.records import bill_section
from tuner.report.source import Source

CHEAP = {"train": 10_000.0, "eval": 1_000.0, "checkpoint": 500.0, "setup": 90.0, "idle": 900.0}


def test_shares_are_of_training_time_and_shown_with_their_bounds() -> None:
    told = "evaluation 10 % of training time (at most 10 %), checkpoints and commits 5 % (at most 5 %)"
    assert shares_line(CHEAP) == told
    assert warnings(CHEAP) == ()


@pytest.mark.parametrize(
    ("account", "seconds", "told", "setting"),
    [
        ("eval", 1310.0, "Evaluation took 13.1 % of training time, more than 10 %", "evaluation.every_steps"),
        ("checkpoint", 820.0, "commits took 8.2 % of training time, more than 5 %", "execution.checkpoint_every_steps"),
    ],
)
def test_a_share_beyond_its_bound_names_the_setting_that_helps(
    account: str, seconds: float, told: str, setting: str
) -> None:
    (warning,) = warnings({**CHEAP, account: seconds})
    assert told in warning
    assert setting in warning


def test_nothing_is_warned_of_where_less_than_five_minutes_could_be_won() -> None:
    assert warnings({**CHEAP, "eval": 1_299.0, "checkpoint": 799.0}) == ()
    assert warnings({"train": 100.0, "eval": 100.0, "checkpoint": 200.0, "setup": 0.0, "idle": 0.0}) == ()


def test_nothing_is_said_of_a_study_that_has_trained_nothing() -> None:
    nothing = dict.fromkeys(CHEAP, 0.0) | {"idle": 5.0}
    assert shares_line(nothing) is None
    assert warnings(nothing) == ()


def test_the_report_shows_the_shares_and_counts_idle_time_apart() -> None:
    bill = {**BILL, "seconds": {**CHEAP, "eval": 2_000.0, "setup": 5.0}}
    source = Source(study=quickstart_study(), config=make_config(), bill=bill, command="", decision_times=())
    section = bill_section(source)
    assert section.claim.endswith("in 208.4 worker minutes.")
    assert section.evidence[0].startswith("Overheads: evaluation 20 % of training time")
    assert "evaluation.every_steps" in section.evidence[1]
    assert ("idle", 900.0, "workers that were up with nothing to train") in section.tables[1].rows
