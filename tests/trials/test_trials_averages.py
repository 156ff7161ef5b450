"""Averaged weights through the real runner and store: kept, resumed, forked and made again as the very same."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from in_process import SPEC, Study, answer_of

from tuner.analysis.averages import averaged_split
from tuner.records import AveragedBest, Conclude, Evaluation
from tuner.storage.rows import StoredCheckpoint
from tuner.training.checkpoint import read_checkpoint
from tuner.training.scoring import ScoredFile, score_weights
from tuner.trials.best_weights import whole_best_weights
from tuner.trials.messages import AVERAGED_TEST
from tuner.trials.planner import Planner

HORIZONS = (3, 8)


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path / "home"


def averaged_rows(study: Study, trial: int) -> list[Evaluation]:
    return [row for row in study.store.evaluations(trial) if "averaged" in row.split]


def best_average(study: Study, trial: int) -> StoredCheckpoint:
    found = study.store.best_checkpoint(trial, averaged=True)
    assert found is not None
    return found


def test_the_kept_average_is_the_one_that_was_measured_best(home: Path) -> None:
    study = Study(home, horizons=HORIZONS)
    (trial,) = study.run()
    kept = best_average(study, trial.trial)
    path = study.store.paths.resolve(kept.path)
    _, facts = read_checkpoint(path, sha256=kept.sha256)
    assert facts["kind"] == kept.kind == "averaged"
    rows = [row for row in averaged_rows(study, trial.trial) if row.metric == "loss"]
    best = min(rows, key=lambda row: row.value)
    assert (best.global_step, best.split) == (kept.global_step, averaged_split(facts["horizon"]))
    file = ScoredFile(path=path, precision="fp32")
    execution = study.bench._execution(3)
    scored = score_weights(file, study.workload, split="validation", eval_spec=study.eval, execution=execution)
    assert scored["loss"] == best.value


def test_an_interrupted_trial_ends_with_the_averages_of_an_undisturbed_one(home: Path) -> None:
    alone = Study(home / "alone", horizons=HORIZONS)
    alone.run()
    study = Study(home / "stopped", horizons=HORIZONS)
    study.stop_at(9)
    study.bench = study.new_bench()
    study.run()
    assert study.results() == alone.results()
    assert averaged_rows(study, 1) == averaged_rows(alone, 1) != []
    assert best_average(study, 1).sha256 == best_average(alone, 1).sha256


def test_a_fork_has_the_averaged_curve_of_a_run_alone(home: Path) -> None:
    longer = replace(SPEC, max_train_steps=26)
    study = Study(home / "shared", SPEC, longer, horizons=HORIZONS)
    study.run()
    assert study.trials()[1].forked_from is not None
    alone = Study(home / "alone", longer, horizons=HORIZONS)
    alone.run()
    assert averaged_rows(study, 2) == averaged_rows(alone, 1)


def test_runs_with_and_without_averages_share_nothing_but_their_numbers(home: Path) -> None:
    study = Study(home, horizons=HORIZONS)
    (trial,) = study.run()
    plain = Study(home / "plain")
    (other,) = plain.run()
    assert trial.weights_digest == other.weights_digest
    prepared = study.bench.prepare(trial, study.eval), study.bench.prepare(trial, plain.eval)
    assert prepared[0].eval_key != prepared[1].eval_key


def test_damaged_best_averages_are_made_again_and_are_the_very_same(home: Path) -> None:
    study = Study(home, horizons=HORIZONS)
    (trial,) = study.run()
    kept = best_average(study, 1)
    path = study.store.paths.resolve(kept.path)
    _, facts = read_checkpoint(path)
    whole = path.read_bytes()
    path.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    assert whole_best_weights(study.bench, trial, study.eval, horizon=facts["horizon"]) == kept
    assert path.read_bytes() == whole
    assert study.warnings[-1].endswith("and are the very same")


def test_the_answer_keeps_the_test_scores_of_both_weights_and_says_which_is_missing(home: Path) -> None:
    study = Study(home, horizons=HORIZONS)
    (trial,) = study.run()
    planner = Planner(study.store, study.planner, study.config, mirror=None, warn=study.warnings.append)
    answer = answer_of(trial, averaged=AveragedBest(horizon=3, step=18, value=0.1))
    own, averaged = Evaluation(trial.best_step, "test", "loss", 0.3), Evaluation(18, AVERAGED_TEST, "loss", 0.2)
    scored = planner._with_test_value(Conclude(answer=answer), (own, averaged))
    assert (scored.answer.test_value, scored.answer.averaged.test_value, scored.decisions) == (0.3, 0.2, ())
    assert [row for row in study.store.evaluations(trial.trial) if row.split.startswith("test")] == [own]
    lacking = planner._with_test_value(Conclude(answer=answer), (own,))
    (decision,) = lacking.decisions
    assert lacking.answer.averaged.test_value is None
    assert "averaged weights of their best step" in decision.reason
