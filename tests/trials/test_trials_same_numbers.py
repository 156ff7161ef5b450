"""Killed and resumed, shared or not: a study ends with the very numbers of one that was trained straight through.

One file, so that both compare with the same undisturbed run.
"""

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


pytestmark = pytest.mark.slow
"""Of minutes; the same promises are kept by studies of a toy in tests/faults, one of them in every run of the tests."""


@pytest.fixture(scope="module")
def undisturbed_of(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str, int], Home]:
    """The tiny study run from end to end, by precision and micro-batch; each is run once."""
    homes: dict[tuple[str, int], Home] = {}

    def run(precision: str, micro: int) -> Home:
        if (precision, micro) not in homes:
            home = Home(tmp_path_factory.mktemp("undisturbed"), precision=precision, micro=micro)
            home.tuner("run", "tiny.yaml", "--workers", "1")
            homes[precision, micro] = home
        return homes[precision, micro]

    return run


def results(home: Home) -> list[dict[str, Any]]:
    return [{key: trial[key] for key in SAME} for trial in home.json("trials", "tiny")]


@pytest.mark.parametrize(
    ("precision", "micro", "num_kills", "workers"),
    [("fp16", 4, 5, "2")],
)
def test_kills_change_no_trial_no_value_and_no_weight(
    tmp_path: Path, undisturbed_of: Callable[[str, int], Home], precision: str, micro: int, num_kills: int, workers: str
) -> None:
    undisturbed = undisturbed_of(precision, micro)
    total = undisturbed.num_evals()

    home = Home(tmp_path, precision=precision, micro=micro)
    generator = random.Random(precision)
    command = ("run", "tiny.yaml")
    num_killed = 0
    for threshold in sorted(generator.sample(range(8, total - 8), num_kills)):
        process = home.start(*command, "--workers", workers)
        if home.wait_for_evals(process, threshold):
            num_killed += 1
        kill_group(process)
        command = ("resume", "tiny")
    home.tuner("resume", "tiny", "--workers", workers)

    assert num_killed == num_kills
    assert results(home) == results(undisturbed)
    status = home.json("status", "tiny")
    assert status["answer"] == undisturbed.json("status", "tiny")["answer"]
    assert status["steps"]["recomputed"] <= int(workers) * num_kills * 20
    steps = status["steps"]
    assert steps["executed"] == steps["stage_tree"] + steps["recomputed"] + steps["overshoot"]
    assert home.json("verify", "tiny")["is_clean"]


COMPARED = (
    "phase",
    "number",
    "params",
    "outcome",
    "last_step",
    "best_step",
    "best_value",
    "last_value",
    "weights_digest",
)


@pytest.fixture(scope="module")
def shared(undisturbed_of: Callable[[str, int], Home]) -> Home:
    return undisturbed_of("fp32", 16)


@pytest.fixture(scope="module")
def unshared(tmp_path_factory: pytest.TempPathFactory) -> Home:
    home = Home(tmp_path_factory.mktemp("unshared"))
    home.tuner("run", "tiny.yaml", "--workers", "1", "--no-sharing")
    return home


def trials(home: Home) -> list[dict[str, Any]]:
    listed = home.json("trials", "tiny")
    assert isinstance(listed, list)
    return listed


def test_sharing_changes_no_digest_and_no_value(shared: Home, unshared: Home) -> None:
    def compared(home: Home) -> list[dict[str, Any]]:
        return [{key: trial[key] for key in COMPARED} for trial in trials(home)]

    assert compared(shared) == compared(unshared)
    assert all(trial["forked_from"] is None for trial in trials(unshared))


def test_sharing_changes_no_curve(shared: Home, unshared: Home) -> None:
    assert shared.curves() == unshared.curves()


def test_longer_rounds_fork_from_the_shorter_round_at_its_decay_start(shared: Home) -> None:
    by_id = {trial["trial"]: trial for trial in trials(shared)}
    for trial in by_id.values():
        if trial["phase"] not in ("round_1.2", "round_2") or trial["number"] % 2:
            continue
        if trial["phase"] == "round_2" and trial["forked_from"] is None:
            continue  # another seed: a trunk of its own
        donor = by_id[trial["forked_from"]["trial"]]
        assert donor["params"] == trial["params"]
        budget = donor["max_train_steps"]
        assert 0.6 * budget <= trial["forked_from"]["step"] < budget
    forked = [trial for trial in by_id.values() if trial["forked_from"]]
    assert {trial["phase"] for trial in forked} >= {"round_2"}


def test_the_bill_adds_up_and_sharing_saved_steps(shared: Home, unshared: Home) -> None:
    for home in (shared, unshared):
        steps = home.json("status", "tiny")["steps"]
        assert steps["executed"] == steps["stage_tree"] + steps["recomputed"] + steps["overshoot"]
    with_forks, without = shared.json("status", "tiny")["steps"], unshared.json("status", "tiny")["steps"]
    assert with_forks["recomputed"] == 0
    assert with_forks["requested"] == without["requested"]
    assert with_forks["shared"] > 0
    assert without["shared"] == 0
    assert with_forks["executed"] - with_forks["overshoot"] < without["executed"] - without["overshoot"]
