"""A study that was killed and resumed ends with the very numbers of one that never was."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest
from study_processes import Home, kill_group

SAME = ("trial", "phase", "number", "params", "outcome", "reason", "max_train_steps", "last_step", "best_step")
SAME += ("first_good_step", "best_value", "last_value", "num_evals", "num_skipped_updates", "forked_from")
SAME += ("weights_digest",)


def results(home: Home) -> list[dict[str, Any]]:
    return [{key: trial[key] for key in SAME} for trial in home.json("trials", "tiny")]


@pytest.mark.parametrize(("precision", "micro", "num_kills"), [("fp32", 16, 5), ("fp16", 4, 3)])
def test_kills_change_no_trial_no_value_and_no_weight(
    tmp_path: Path, precision: str, micro: int, num_kills: int
) -> None:
    undisturbed = Home(tmp_path / "undisturbed", precision=precision, micro=micro)
    undisturbed.tuner("run", "tiny.yaml", "--workers", "2")
    total = undisturbed.num_evals()

    home = Home(tmp_path / "killed", precision=precision, micro=micro)
    generator = random.Random(precision)
    command = ("run", "tiny.yaml")
    num_killed = 0
    for threshold in sorted(generator.sample(range(8, total - 8), num_kills)):
        process = home.start(*command, "--workers", "2")
        if home.wait_for_evals(process, threshold):
            num_killed += 1
        kill_group(process)
        command = ("resume", "tiny")
    home.tuner("resume", "tiny", "--workers", "2")

    assert num_killed == num_kills
    assert results(home) == results(undisturbed)
    status = home.json("status", "tiny")
    assert status["answer"] == undisturbed.json("status", "tiny")["answer"]
    assert status["steps"]["recomputed"] <= 2 * num_kills * 15
    steps = status["steps"]
    assert steps["executed"] == steps["stage_tree"] + steps["recomputed"] + steps["overshoot"]
