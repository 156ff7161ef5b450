"""Kinds of workload on real training: a compute-bound study of a stated length, and a length bought by hours."""

from __future__ import annotations

import pytest
from study_processes import TINY, Home

pytestmark = pytest.mark.slow

FOREVER = (
    TINY.format(precision="fp32", micro=16)
    .replace("max_steps: 640, perfect_fit: {metric: loss, at_most: 0.1}", "max_steps: 160, production_steps: 400")
    .replace("adjust: raw, max_adjustments: 1", "adjust: none")
    .replace("num_trials: 2, num_seeds: 2, budget_multiple: 2", "num_trials: 1, num_seeds: 1, budget_multiple: auto")
    # What the cooldowns fork from was kept because they would, not by the way.
    .replace("checkpoint_every_steps: 20", "checkpoint_every_steps: 1000")
)


@pytest.fixture(scope="module")
def forever(tmp_path_factory: pytest.TempPathFactory) -> Home:
    home = Home(tmp_path_factory.mktemp("forever"), text=FOREVER)
    home.tuner("run", "tiny.yaml", "--workers", "2")
    return home


def test_a_study_without_a_threshold_takes_its_production_length(forever: Home) -> None:
    status = forever.json("status", "tiny")
    assert [(phase["name"], phase["max_train_steps"]) for phase in status["phases"]] == [
        ("budget_sweep", 160),
        ("budget_sweep.cooldown", 176),
        ("round_1", 40),
        ("round_2", 400),
    ]
    assert status["answer"]["max_train_steps"] == 400
    assert status["steps"]["recomputed"] <= len(forever.json("trials", "tiny")), "a decay's first step at the peak"


def test_cooldowns_are_forked_at_the_end_of_the_sweep_and_train_only_their_decay(forever: Home) -> None:
    trials = forever.json("trials", "tiny")
    rates = {trial["trial"]: trial["params"] for trial in trials if trial["phase"] == "budget_sweep"}
    cooled = [trial for trial in trials if trial["phase"] == "budget_sweep.cooldown"]
    assert len(cooled) == 4
    for trial in cooled:
        assert trial["forked_from"]["step"] == 160
        assert rates[trial["forked_from"]["trial"]] == trial["params"]
        assert trial["steps_executed"] == 16


def test_hours_buy_the_length_by_the_measured_step_time(forever: Home) -> None:
    text = FOREVER.replace("study: tiny", "study: bought").replace(", production_steps: 400", "") + (
        "limits: {run_hours: 0.004}\n"
    )
    # Up to 72 milliseconds per step, whatever the machine: thousands of steps, or the 200 whose tenth can be judged.
    text = text.replace("warmup_steps: 5", "warmup_steps: 2")
    (forever.folder / "bought.yaml").write_text(text)
    # Nothing is shared with the other study, so that there is something to measure.
    forever.tuner("run", "bought.yaml", "--workers", "2", "--no-sharing")
    why = forever.json("answer", "bought")["why"]
    assert any("limits.run_hours=0.004 buys" in reason for reason in why)
