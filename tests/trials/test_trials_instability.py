"""The early probe on real training: killed in its midst and resumed it tells the same, and changes no later round."""

from __future__ import annotations

from typing import Any

import pytest
from study_processes import TINY, Home, kill_group

pytestmark = pytest.mark.slow

SHORT = (
    TINY.format(precision="fp32", micro=16)
    .replace("max_adjustments: 1", "max_adjustments: 0")
    .replace("round_2: {num_trials: 2, num_seeds: 2, budget_multiple: 2, lower_rate_twin: false}", "round_2: null")
)
SAME = (
    "number",
    "params",
    "outcome",
    "reason",
    "max_train_steps",
    "last_step",
    "best_step",
    "best_value",
    "last_value",
)
SAME += ("num_evals", "weights_digest")


@pytest.fixture(scope="module")
def probed(tmp_path_factory: pytest.TempPathFactory) -> Home:
    home = Home(tmp_path_factory.mktemp("probed"), text=SHORT)
    home.tuner("run", "tiny.yaml", "--workers", "1", "--probe-instability")
    return home


@pytest.fixture(scope="module")
def without(tmp_path_factory: pytest.TempPathFactory) -> Home:
    home = Home(tmp_path_factory.mktemp("without"), text=SHORT)
    home.tuner("run", "tiny.yaml", "--workers", "1")
    return home


def results(home: Home, *, probe: bool) -> list[dict[str, Any]]:
    trials = home.json("trials", "tiny")
    return [{key: t[key] for key in SAME} for t in trials if (t["phase"] == "instability_probe") == probe]


def verdicts(home: Home) -> dict[str, Any]:
    return {phase["name"]: (phase["verdict"], phase["reason"]) for phase in home.json("status", "tiny")["phases"]}


def test_the_probe_evaluates_every_step_and_changes_no_number_of_the_rounds(probed: Home, without: Home) -> None:
    (first, *_) = results(probed, probe=True)
    assert first["num_evals"] == first["last_step"]
    assert verdicts(probed)["instability_probe"][0] in ("stable", "unstable")
    assert results(probed, probe=False) == results(without, probe=False)
    answers = [{**home.json("status", "tiny")["answer"], "best_trial": None} for home in (probed, without)]
    assert answers[0] == answers[1]


def test_killed_in_the_probe_and_resumed_without_the_flag_it_tells_the_very_same(probed: Home, tmp_path: Any) -> None:
    sweep = [row for row in probed.curves() if row[0] <= 4 and row[1] != "updates"]
    home = Home(tmp_path, text=SHORT)
    process = home.start("run", "tiny.yaml", "--workers", "1", "--probe-instability")
    # Some way into the probe: its evaluations follow all those of the sweep.
    assert home.wait_for_evals(process, len(sweep) + 100)
    kill_group(process)
    home.tuner("resume", "tiny", "--workers", "1")
    assert results(home, probe=True) == results(probed, probe=True)
    assert verdicts(home) == verdicts(probed)
    assert home.curves() == probed.curves()
