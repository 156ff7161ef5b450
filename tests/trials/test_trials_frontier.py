"""A frontier of real training: planned, it costs the stage tree and no step more; it is measured once."""

from __future__ import annotations

from typing import Any

import pytest
from study_processes import TINY, Home

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Home:
    """The tiny study with a planned frontier, its exact stop off."""
    text = TINY.format(precision="fp32", micro=16)
    text = text.replace("num_rates: 4}", "num_rates: 4}, stop_when_dominated: false")
    home = Home(tmp_path_factory.mktemp("frontier"), text=f"{text}frontier: {{num_budgets: 4, num_seeds: 2}}\n")
    home.tuner("run", "tiny.yaml", "--workers", "2")
    return home


def frontier(home: Home, *options: str) -> dict[str, Any]:
    found: dict[str, Any] = home.json("frontier", "tiny", *options)
    return found


def test_with_every_fork_planned_no_step_is_done_twice(home: Home) -> None:
    bill = home.json("status", "tiny")["steps"]
    assert bill["recomputed"] == bill["overshoot"] == 0
    assert bill["executed"] == bill["stage_tree"]
    trials = [trial for trial in home.json("trials", "tiny") if trial["phase"] == "frontier"]
    assert len(trials) == 4 * 3
    # Two seeds of the answer's rate continue round 2; only the trunk of the half rate starts from nothing.
    assert sum(trial["forked_from"] is None for trial in trials) == 1
    home.tuner("verify", "tiny")


def test_a_frontier_that_stands_is_printed_again_and_the_answer_stays(home: Home) -> None:
    before, answer = home.json("status", "tiny")["steps"], home.json("answer", "tiny")["answer"]
    found = frontier(home, "--num-budgets", "4", "--num-seeds", "2", "--hours", "0.001")
    budgets = [row["budget"] for row in found["budgets"]]
    assert budgets == [100, 133, 167, 200]
    assert found["knee"] in budgets
    assert found["hours_buy"]["steps"] > 0
    assert home.json("status", "tiny")["steps"] == before
    assert home.json("answer", "tiny")["answer"] == answer


def test_other_budgets_are_another_frontier_which_shares_what_agrees(home: Home) -> None:
    before, answer = home.json("status", "tiny")["steps"], home.json("answer", "tiny")["answer"]
    found = frontier(home, "--budgets", "120,160,200", "--no-half-rate", "--workers", "1")
    assert [row["budget"] for row in found["budgets"]] == [120, 160, 200]
    assert found["phase"] == "frontier.2"
    status = home.json("status", "tiny")
    assert status["state"] == "finished"
    assert status["steps"]["executed"] - before["executed"] < 480 / 2
    assert home.json("answer", "tiny")["answer"] == answer
    home.tuner("run", "tiny.yaml")


def test_a_proxy_executes_the_rest_of_the_trunk_and_no_cooldown_that_stands(home: Home) -> None:
    """Planned forks left the states, and the exact frontier's cooldowns at 100 and 200 updates calibrate it."""
    before, answer = home.json("status", "tiny")["steps"], home.json("answer", "tiny")["answer"]
    found = frontier(home, "--proxy", "--no-half-rate")
    trials = [trial for trial in home.json("trials", "tiny") if trial["phase"] == found["phase"]]
    after = home.json("status", "tiny")["steps"]
    # The answer's run decays over its last 20 updates, the first of which runs at the peak rate still.
    assert [trial["steps_executed"] for trial in trials] == [20 - 1, 0, 0]
    assert after["executed"] - before["executed"] == 20 - 1
    assert after["recomputed"] == before["recomputed"]
    assert len(found["proxy"]["calibration"]["errors"]) == 2
    shown = [row["budget"] for row in found["budgets"]]
    assert shown == (list(range(100, 201, 10)) if found["proxy"]["holds"] else [100, 200])
    assert home.json("answer", "tiny")["answer"] == answer
    home.tuner("verify", "tiny")
