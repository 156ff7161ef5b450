"""An extension of real training: it trains what is new and nothing else, killed or not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from study_processes import TINY, Home, kill_group

pytestmark = pytest.mark.slow

SHORT = (
    TINY.format(precision="fp32", micro=16)
    .replace("num_rates: 4}", "num_rates: 3}, stop_when_dominated: false")
    .replace("num_trials: 5, adjust: raw, max_adjustments: 1", "num_trials: 3, adjust: none")
    .replace("num_trials: 2, num_seeds: 2", "num_trials: 1, num_seeds: 1")
)
MORE = (
    "rounds.0.num_seeds=2",
    "rounds.1.budget_multiple=2",
    "rounds.1.num_trials=1",
    "rounds.1.lower_rate_twin=false",
    "--workers",
    "1",
)
POINT = ("--add-point", "learning_rate=0.011")


def digests(home: Home) -> dict[tuple[Any, ...], str]:
    """The weights at the end of every run that ended, by what was trained."""
    return {
        (trial["phase"].removesuffix(".added"), str(trial["params"]), trial["max_train_steps"], trial["number"]): trial[
            "weights_digest"
        ]
        for trial in home.json("trials", "tiny")
        if trial["outcome"] == "complete"
    }


@pytest.fixture(scope="module")
def extended(tmp_path_factory: pytest.TempPathFactory) -> Home:
    home = Home(tmp_path_factory.mktemp("extended"), text=SHORT)
    home.tuner("run", "tiny.yaml", "--workers", "1")
    home.tuner("extend", "tiny", *MORE, *POINT)
    return home


def test_only_what_is_new_is_trained_and_the_whole_costs_its_stage_tree(extended: Home) -> None:
    status = extended.json("status", "tiny")
    assert status["state"] == "finished"
    names = [phase["name"] for phase in status["phases"]]
    assert names[:4] == ["budget_sweep", "round_1", "round_2", "round_1.added"]
    assert names[-1] == "round_3"
    assert status["steps"]["recomputed"] == status["steps"]["overshoot"] == 0
    assert status["steps"]["executed"] == status["steps"]["stage_tree"]
    extended.tuner("verify", "tiny")


def test_the_same_again_does_nothing_and_the_report_tells_what_was_found_before(extended: Home) -> None:
    before = extended.json("status", "tiny")
    assert "nothing to do" in extended.tuner("extend", "tiny", *MORE, *POINT)
    assert extended.json("status", "tiny") == before
    extended.tuner("report", "tiny", "--out", str(extended.folder / "report"))
    page = (extended.folder / "report" / "tables" / "decisions.csv").read_text()
    assert "Until then the answer was trial" in page
    assert "given by the user (learning_rate=0.011)" in page


def test_an_extension_that_was_killed_ends_with_the_same_weights(extended: Home, tmp_path: Path) -> None:
    home = Home(tmp_path, text=SHORT)
    home.tuner("run", "tiny.yaml", "--workers", "1")
    before = home.num_evals()
    process = home.start("extend", "tiny", *MORE, *POINT)
    assert home.wait_for_evals(process, before + 30)
    kill_group(process)
    home.tuner("verify", "tiny")
    home.tuner("resume", "tiny", "--workers", "1")
    assert digests(home) == digests(extended)
    assert home.json("status", "tiny")["answer"] == extended.json("status", "tiny")["answer"]


def test_what_joined_a_round_is_reported_with_it_as_it_was_judged(extended: Home) -> None:
    found = {phase["phase"]: phase for phase in extended.json("best-steps", "tiny")["phases"]}
    assert list(found) == ["round_1", "round_2", "round_3"]
    assert found["round_1"]["num_feasible"] == len(found["round_1"]["trials"]) == 4


def test_the_yaml_of_the_study_goes_on_to_name_it(extended: Home) -> None:
    answer = extended.json("status", "tiny")["answer"]
    assert f"train for {answer['max_train_steps']} updates" in extended.tuner("run", "tiny.yaml")


def test_changed_data_are_refused_and_the_study_is_as_it_was(extended: Home) -> None:
    before = extended.json("status", "tiny")
    source = extended.folder / "tiny_workload.py"
    text = source.read_text()
    source.write_text(f"{text}\n# Other code than that which was measured.\n")
    error = extended.tuner("extend", "tiny", "rounds.1.num_seeds=3", exit_code=2)
    source.write_text(text)
    assert "are not those that this study began with" in error
    assert extended.json("status", "tiny") == before
