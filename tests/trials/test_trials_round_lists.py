"""A list of rounds on real training: each forks from the plateau of the one before, and trains nothing twice."""

from __future__ import annotations

from typing import Any

import pytest
from study_processes import TINY, Home

pytestmark = pytest.mark.slow

LISTED = (
    TINY.format(precision="fp32", micro=16)
    .replace("adjust: raw, max_adjustments: 1", "adjust: none")
    .replace(
        "round_2: {num_trials: 2, num_seeds: 2, budget_multiple: 2, lower_rate_twin: false}",
        """rounds:
  - {num_trials: 2, num_seeds: 1, budget_multiple: 2, lower_rate_twin: false}
  - {num_trials: 1, num_seeds: 2, budget_multiple: 2, lower_rate_twin: false}""",
    )
    # Nothing is kept by the way: what is shared was reserved.
    .replace("checkpoint_every_steps: 20", "checkpoint_every_steps: 1000")
)


@pytest.fixture(scope="module")
def listed(tmp_path_factory: pytest.TempPathFactory) -> Home:
    home = Home(tmp_path_factory.mktemp("listed"), text=LISTED)
    home.tuner("run", "tiny.yaml", "--workers", "1")
    return home


def trials(home: Home, phase: str) -> list[dict[str, Any]]:
    return [trial for trial in home.json("trials", "tiny") if trial["phase"] == phase]


def test_every_round_of_the_list_ran_at_its_length(listed: Home) -> None:
    phases = {phase["name"]: phase for phase in listed.json("status", "tiny")["phases"]}
    assert list(phases) == ["budget_sweep", "round_1", "round_2", "round_3"]
    first = phases["round_1"]["max_train_steps"]
    assert [phases[name]["max_train_steps"] for name in ("round_2", "round_3")] == [2 * first, 4 * first]


@pytest.mark.parametrize(("shorter", "longer"), [("round_1", "round_2"), ("round_2", "round_3")])
def test_a_carried_point_forks_at_the_decay_start_and_executes_the_rest(
    listed: Home, shorter: str, longer: str
) -> None:
    donors = {trial["trial"]: trial for trial in trials(listed, shorter)}
    carried = {str(donor["params"]) for donor in donors.values()}
    # A further seed is a trunk of its own.
    forked = [trial for trial in trials(listed, longer) if trial["forked_from"]]
    assert len(forked) == (2 if longer == "round_2" else 1)
    decay = round(0.2 * trials(listed, "round_1")[0]["max_train_steps"])
    for trial in forked:
        assert str(trial["params"]) in carried
        budget = donors[trial["forked_from"]["trial"]]["max_train_steps"]
        # The first update of the decay still runs at the peak rate: a run at 2 T saves T - D steps and that one.
        start = budget - decay + 1
        assert (trial["forked_from"]["step"], trial["steps_executed"]) == (start, 2 * budget - start)


def test_what_was_executed_is_the_stage_tree_alone(listed: Home) -> None:
    steps = listed.json("status", "tiny")["steps"]
    assert steps["recomputed"] == 0
    assert steps["executed"] == steps["stage_tree"] + steps["overshoot"]
    assert steps["shared"] > 0


def test_the_answer_can_be_had_from_the_last_round(listed: Home) -> None:
    told = listed.tuner("answer", "tiny")
    answer = listed.json("status", "tiny")["answer"]
    assert f"train for {answer['max_train_steps']:,} updates" in told
    settings = listed.tuner("answer", "tiny", "--as", "training-arguments")
    assert f"max_steps={answer['max_train_steps']}" in settings.replace(" ", "").replace('"', "")
