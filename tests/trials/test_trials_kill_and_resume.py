"""A study that was killed and resumed ends with the very numbers of one that never was."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from study_processes import Home, kill_group

SAME = ("trial", "phase", "number", "params", "outcome", "reason", "max_train_steps", "last_step", "best_step")
SAME += ("first_good_step", "best_value", "last_value", "num_evals", "num_skipped_updates", "forked_from")
SAME += ("weights_digest",)


def results(home: Home) -> list[dict[str, Any]]:
    return [{key: trial[key] for key in SAME} for trial in home.json("trials", "tiny")]


@pytest.mark.parametrize(
    ("precision", "micro", "num_kills"),
    [
        ("fp32", 16, 2),
        pytest.param("fp32", 16, 5, marks=pytest.mark.slow),
        pytest.param("fp16", 4, 5, marks=pytest.mark.slow),
    ],
)
def test_kills_change_no_trial_no_value_and_no_weight(
    tmp_path: Path, undisturbed_of: Callable[[str, int], Home], precision: str, micro: int, num_kills: int
) -> None:
    undisturbed = undisturbed_of(precision, micro)
    total = undisturbed.num_evals()

    home = Home(tmp_path, precision=precision, micro=micro)
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
    assert status["steps"]["recomputed"] <= 2 * num_kills * 20
    steps = status["steps"]
    assert steps["executed"] == steps["stage_tree"] + steps["recomputed"] + steps["overshoot"]
