"""`round_2` and `rounds`: two ways to write one thing, and what their items may say."""

from __future__ import annotations

from pathlib import Path

import pytest
from config_studies import STUDY, complaints, load

from tuner.config.canonical import config_from_json, config_to_json
from tuner.config.changes import compare

ROUNDS = """\
rounds:
  - {num_trials: 3}
  - {num_trials: 2, budget_multiple: 4}
"""
BOTH = "round_2: stands beside rounds, of which it is the short form; remove it, and say it in the first item, rounds.0"


def test_round_2_is_short_for_a_list_of_one(tmp_path: Path) -> None:
    short = load(tmp_path, STUDY + "round_2: {num_trials: 3}\n").config
    long = load(tmp_path, STUDY + "rounds: [{num_trials: 3}]\n").config
    assert short.later_rounds == long.later_rounds
    assert load(tmp_path).config.later_rounds == load(tmp_path, STUDY + "rounds: [{}]\n").config.later_rounds


@pytest.mark.parametrize("none", ["round_2: null", "rounds: []"])
def test_no_round_after_round_1_can_be_said_both_ways(tmp_path: Path, none: str) -> None:
    assert load(tmp_path, f"{STUDY}{none}\n").config.later_rounds == ()


def test_a_list_replaces_the_default_of_round_2(tmp_path: Path) -> None:
    config = load(tmp_path, STUDY + ROUNDS).config
    assert [item.num_trials for item in config.later_rounds] == [3, 2]
    assert config.later_rounds[1].budget_multiple == 4


def test_a_list_comes_back_from_storage_and_its_change_is_seen(tmp_path: Path) -> None:
    config = load(tmp_path, STUDY + ROUNDS).config
    stored = config_from_json(config_to_json(config))
    assert stored == config
    assert compare(stored, config) == ()
    other = load(tmp_path, STUDY + ROUNDS, ["rounds.1.num_seeds=5"]).config
    (change,) = compare(stored, other)
    assert (change.path, change.old, change.new, change.change) == ("rounds.1.num_seeds", 2, 5, "decision")
    (change,) = compare(stored, load(tmp_path, STUDY + ROUNDS, ["rounds=[{num_trials: 3}]"]).config)
    assert (change.path, len(change.old), len(change.new)) == ("rounds", 2, 1)


@pytest.mark.parametrize(
    ("text", "overrides", "where"),
    [
        (STUDY + ROUNDS + "round_2: {num_trials: 2}\n", [], "x.yaml:19: "),
        (STUDY + ROUNDS, ["round_2.num_trials=2"], "command line: "),
        (STUDY + "round_2: {num_trials: 2}\n", ["rounds=[{}]"], "command line: "),
    ],
)
def test_both_ways_at_once_are_refused_with_the_remedy(
    tmp_path: Path, text: str, overrides: list[str], where: str
) -> None:
    assert complaints(tmp_path, text, overrides) == [where + BOTH]


@pytest.mark.parametrize(
    ("overrides", "complaint"),
    [
        (
            ["rounds.0.num_trials=9"],
            "rounds.0.num_trials: 9 is more than round_1.num_trials=8; a round extends the best",
        ),
        (["rounds.1.num_trials=4"], "rounds.1.num_trials: 4 is more than rounds.0.num_trials=3; a round extends the"),
        (
            ["rounds.1.extend=cosine"],
            "rounds.1.extend: cosine with a plateau extension: training.schedule warmup_stable",
        ),
        (["rounds.1.budget_multiple=0.5"], "rounds.1.budget_multiple: 0.5 is out of range; use a number of at least 1"),
        (["rounds.0.extend=linear"], 'rounds.0.extend: "linear" is not one of the choices'),
        (["rounds.0.num_trial=2"], "rounds.0.num_trial: unknown setting; did you mean rounds.0.num_trials?"),
        (["rounds=3"], "rounds: 3 cannot be used here; use a list or null"),
    ],
)
def test_items_that_cannot_be_are_refused_by_their_place(tmp_path: Path, overrides: list[str], complaint: str) -> None:
    found = complaints(tmp_path, STUDY + ROUNDS, overrides)
    assert len(found) == 1
    assert found[0].startswith(f"command line: {complaint}")


@pytest.mark.parametrize("schedule", ["cosine", "linear"])
def test_a_constant_extension_needs_a_plateau(tmp_path: Path, schedule: str) -> None:
    anew = [f"training.schedule={schedule}", "round_1.adjust=raw"]
    assert load(tmp_path, overrides=[*anew, "round_2.extend=cosine"]).config.later_rounds[0].extend == "cosine"
    (found,) = complaints(tmp_path, overrides=[*anew, "round_2.extend=constant"])
    assert found == (
        f"command line: round_2.extend: constant lengthens a plateau, which training.schedule {schedule} has not; use "
        "extend: cosine, or schedule: warmup_stable_decay"
    )
