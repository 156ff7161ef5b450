"""Whole extensions by the real planner, store and runner: what was there stays, and only what is new is trained."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from whole_study import WholeStudy

from tuner.cli.main import run_command_line
from tuner.protocol.measured import Measured
from tuner.records import StudyRecord
from tuner.storage.store import Store

TEXT = """\
study: toy
seed: 7
workload: {kind: python, class: "numpy_trainer:Toy"}
training: {optimizer: sgd, momentum: 0.5, warmup_steps: 3}
evaluation: {metric: loss, every_steps: 16}
budget: {first_guess_steps: 32, max_steps: 64, perfect_fit: {metric: loss, at_most: 0.08}}
budget_sweep: {learning_rates: {low: 0.2, high: 0.8, num_rates: 3}, max_widenings: 0, stop_when_dominated: false}
search_space: {learning_rate: {low: 0.04, high: 0.14, scale: log}}
round_1: {num_trials: 2, adjust: none, decay_shares: [], widen_at_edge: false}
rounds: [{num_trials: 1, num_seeds: 1, budget_multiple: 2, lower_rate_twin: false}]
limits: {study_hours: 20}
execution: {checkpoint_every_steps: 16, device: cpu}
"""
MORE = (
    "round_1.num_trials=3",
    "rounds.0.num_trials=2",
    "rounds.0.num_seeds=2",
    "rounds.1.num_trials=1",
    "rounds.1.num_seeds=1",
    "rounds.1.budget_multiple=2",
    "rounds.1.lower_rate_twin=false",
    "limits.study_hours=40",
)
AT_ONCE = (
    TEXT.replace("num_trials: 2, adjust", "num_trials: 3, adjust")
    .replace("{num_trials: 1, num_seeds: 1, budget", "{num_trials: 2, num_seeds: 2, budget")
    .replace("}]", "}, {num_trials: 1, num_seeds: 1, budget_multiple: 2, lower_rate_twin: false}]")
    .replace("study_hours: 20", "study_hours: 40")
)
TUNED = (
    TEXT.replace("every_steps: 16}", "every_steps: 6}")
    .replace("first_guess_steps: 32, max_steps: 64", "first_guess_steps: 60, max_steps: 240")
    .replace("at_most: 0.08", "at_most: 0.064")
    .replace("low: 0.2, high: 0.8", "low: 0.1, high: 1.8")
)
"""Trained longer and looked at more often: there, a rate of 0.3 is better than those that are searched."""
RAM = Path("/dev/shm")


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """In memory where there is such a place."""
    if not os.access(RAM, os.W_OK):
        yield tmp_path_factory.mktemp("extended")
        return
    with tempfile.TemporaryDirectory(dir=RAM) as folder:
        yield Path(folder)


@pytest.fixture(scope="module")
def study(home: Path) -> WholeStudy:
    return WholeStudy(home / "study", TEXT).run()


@pytest.fixture(scope="module")
def ended(study: WholeStudy) -> tuple[StudyRecord, dict[Any, Any], dict[str, int]]:
    """The study as it was before its extension, and what it had cost."""
    return study.record(), study.results(), study.bill()


@pytest.fixture(scope="module")
def extended(study: WholeStudy, ended: object) -> WholeStudy:
    return study.extend(*MORE)


def test_an_extension_leaves_what_was_closed_as_it_was(
    ended: tuple[StudyRecord, dict[Any, Any], Any], extended: WholeStudy
) -> None:
    before, results, _ = ended
    after = extended.record()
    assert after.state == "finished"
    assert extended.warnings == []
    assert [phase.name for phase in after.phases] == [
        *("budget_sweep", "round_1", "round_2"),
        *("round_1.added", "round_2.added", "round_3"),
    ]
    assert after.phases[: len(before.phases)] == before.phases
    assert after.decisions[: len(before.decisions)] == before.decisions
    assert results.items() <= extended.results().items()
    assert len(extended.results()) == len(after.trials()), "no run stands there twice"


def test_an_extension_is_billed_for_what_is_new_alone(
    ended: tuple[Any, Any, dict[str, int]], extended: WholeStudy
) -> None:
    before, after = ended[2], extended.bill()
    assert before["recomputed"] == before["overshoot"] == after["recomputed"] == after["overshoot"] == 0
    new = [trial for trial in extended.record().trials() if trial.phase.endswith((".added", "round_3"))]
    assert after["executed"] - before["executed"] == sum(trial.steps_executed for trial in new)
    assert {trial.forked_from is None for trial in new} == {True, False}


def test_what_the_hours_hold_nothing_of_is_refused_with_the_numbers_and_changes_nothing(
    home: Path, extended: WholeStudy, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    spent = Measured(num_steps=1000, worker_seconds=100_000.0, elapsed_seconds=39.9 * 3600)
    monkeypatch.setattr(Store, "measured", lambda store, name: spent)
    monkeypatch.setattr(Store, "elapsed_seconds", lambda store, name: spent.elapsed_seconds)
    before = extended.record(), extended.config
    assert run_command_line(["extend", "toy", "rounds.0.num_seeds=9", "--home", str(home / "study")]) == 2
    out, error = capsys.readouterr()
    assert (out, error.count("\n")) == ("", 1)
    assert "limits.study_hours=40: round_2.added.2 is skipped; uncut" in error
    assert error.endswith("So nothing was changed: ask for less, or for more hours with it\n")
    assert (extended.record(), extended.config) == before


@pytest.mark.slow
def test_a_study_that_grew_holds_what_one_that_was_asked_at_once_holds(home: Path, extended: WholeStudy) -> None:
    at_once = WholeStudy(home / "at-once", AT_ONCE).run()
    assert at_once.config == extended.config
    assert at_once.results() == extended.results()
    assert at_once.bill() == extended.bill()
    one, other = at_once.record().answer, extended.record().answer
    assert one is not None
    assert other is not None
    assert replace(one, best_trial=0) == replace(other, best_trial=0)


@pytest.mark.slow
def test_a_planned_frontier_of_a_point_of_the_users_costs_its_stage_tree(home: Path) -> None:
    """Budgets below the plateau of round 1: its trials keep states for the frontier, whoever proposed their points."""
    text = TUNED.replace("budget_multiple: 2", "budget_multiple: 1.25")
    study = WholeStudy(home / "planned", f"{text}frontier: {{num_budgets: 3, half_rate: false}}\n").run()
    study.extend(points=["learning_rate=0.3"])
    assert study.names()[3:] == ["frontier", "round_1.added", "round_2.added", "frontier.2"]
    trials = {trial.trial: trial for trial in study.record().trials()}
    answer = study.record().answer
    assert answer is not None
    assert trials[answer.best_trial].phase == "round_2.added"
    cooldowns = [trial for trial in trials.values() if trial.phase == "frontier.2"]
    donors = {trials[t.forked_from.trial].phase for t in cooldowns if t.forked_from is not None}
    assert donors == {"round_1.added", "round_2.added"}
    bill = study.bill()
    assert bill["recomputed"] == bill["overshoot"] == 0


@pytest.mark.slow
def test_a_frontier_from_an_answer_that_joined_forks_what_is_kept_and_bills_what_it_trains_again(home: Path) -> None:
    study = WholeStudy(home / "unplanned", TUNED).run()
    before = study.extend(points=["learning_rate=0.3"]).bill()
    study.measure_frontier(num_budgets=3, half_rate=False)
    answer, trials = study.record().answer, {trial.trial: trial for trial in study.record().trials()}
    assert answer is not None
    assert trials[answer.best_trial].phase == "round_2.added"
    cooldowns = [trial for trial in trials.values() if trial.phase == "frontier"]
    # The longest is the answer's own run; the next leaves the trunk where the shorter run of the user's point kept it.
    assert [t.forked_from and trials[t.forked_from.trial].phase for t in cooldowns[:2]] == [
        "round_2.added",
        "round_1.added",
    ]
    assert cooldowns[0].steps_executed == 0
    after = study.bill()
    assert after["executed"] - before["executed"] == sum(trial.steps_executed for trial in cooldowns)
    assert after["recomputed"] > 0


@pytest.mark.slow
def test_an_extension_that_was_cut_off_ends_as_one_that_was_not(home: Path, extended: WholeStudy) -> None:
    study = WholeStudy(home / "cut", TEXT).run()
    study.extend(*MORE, until="round_1.added").run(until="round_2.added").run()
    assert study.names() == extended.names()
    assert study.results() == extended.results()
    assert study.bill() == extended.bill()
    told, others = ([d for d in each.record().decisions if d.kind != "cost"] for each in (study, extended))
    assert told == others
