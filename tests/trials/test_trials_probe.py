"""A probe on real training: its trials are those of the doubled round, and nothing is trained twice."""

from __future__ import annotations

from typing import Any

import pytest
from study_processes import TINY, Home

pytestmark = pytest.mark.slow

PROBED = (
    TINY.format(precision="fp32", micro=16)
    .replace("adjust: raw, max_adjustments: 1, decay_shares: []", "max_adjustments: 1, decay_shares: [0.4]")
    .replace("round_2: {num_trials: 2, num_seeds: 2, budget_multiple: 2, lower_rate_twin: false}", "round_2: null")
    .replace("every_steps: 10", "every_steps: 5")
    # Nothing is kept by the way: what is shared was reserved.
    .replace("checkpoint_every_steps: 20", "checkpoint_every_steps: 1000")
)


@pytest.fixture(scope="module")
def probed(tmp_path_factory: pytest.TempPathFactory) -> Home:
    home = Home(tmp_path_factory.mktemp("probed"), text=PROBED)
    home.tuner("run", "tiny.yaml", "--workers", "1")
    return home


def trials(home: Home) -> dict[int, dict[str, Any]]:
    return {trial["trial"]: trial for trial in home.json("trials", "tiny")}


def test_the_probe_decides_and_the_doubled_round_goes_on_from_it(probed: Home) -> None:
    phases = {phase["name"]: phase["verdict"] for phase in probed.json("status", "tiny")["phases"]}
    assert list(phases)[1:] == ["round_1", "round_1.probe", "round_1.2", "round_1.2.probe", "round_1.decay"]
    assert (phases["round_1.probe"], phases["round_1"]) == ("gain", "too short")


def test_a_doubled_trial_that_was_probed_trains_no_step(probed: Home) -> None:
    by_id = trials(probed)
    ends = [
        trial
        for trial in by_id.values()
        if trial["phase"] == "round_1.2" and by_id[trial["forked_from"]["trial"]]["phase"] == "round_1.probe"
    ]
    assert len(ends) == 5
    for trial in ends:
        donor = by_id[trial["forked_from"]["trial"]]
        assert trial["steps_executed"] == 0
        assert trial["forked_from"]["step"] == trial["max_train_steps"]
        assert all(trial[key] == donor[key] for key in ("weights_digest", "best_step", "best_value", "num_evals"))


def test_probes_and_decays_fork_where_they_part_and_repeat_nothing(probed: Home) -> None:
    steps = probed.json("status", "tiny")["steps"]
    assert steps["recomputed"] == 0
    for trial in trials(probed).values():
        if trial["phase"] == "round_1.decay":
            start = trial["max_train_steps"] - trial["params"]["decay_steps"]
            assert trial["forked_from"]["step"] == start + 1


def test_best_steps_of_probes_and_decays_are_in_no_histogram(probed: Home) -> None:
    assert [phase["phase"] for phase in probed.json("best-steps", "tiny")["phases"]] == ["round_1", "round_1.2"]


def test_a_study_with_forks_of_forks_verifies_clean(probed: Home) -> None:
    found = probed.json("verify", "tiny")
    counts = {check["name"]: check["num_ok"] for check in found["checks"]}
    assert found["is_clean"], found
    assert counts["pins"] > 10
