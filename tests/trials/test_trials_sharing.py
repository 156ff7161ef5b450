"""Work that two trials share is trained once, and the numbers never notice."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from study_processes import Home

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
    home.tuner("run", "tiny.yaml", "--workers", "2", "--no-sharing")
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
