"""Damaged files of real trials: found, set aside, never used, and what they held is computed again."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from in_process import EVAL, SPEC, Study

from tuner.trials.best_weights import whole_best_weights


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(bytes(data))


def full_files(study: Study, trial: int = 1) -> dict[int, Path]:
    paths = study.store.paths
    return {
        file.global_step: paths.resolve(file.path) for file in study.store.checkpoints(trial) if file.kind == "full"
    }


def test_a_damaged_checkpoint_costs_its_updates_and_nothing_else(home: Path) -> None:
    straight = Study(home / "straight")
    straight.run()
    study = Study(home / "damaged")
    study.stop_at(18)  # After the checkpoint of the plateau's end, which stays.
    files = full_files(study)
    newest = files[max(files)]
    flip(newest)
    study.run()
    assert study.results() == straight.results()
    assert len(study.warnings) == 1
    assert study.warnings[0].startswith(f"trial 1: checkpoint {newest} was altered: sha256 ")
    assert study.warnings[0].endswith(
        f"; it was set aside as {newest.name}.damaged, and an older one serves; the updates between are done again"
    )
    assert newest.with_name(f"{newest.name}.damaged").is_file()


@pytest.mark.slow
def test_when_every_checkpoint_is_damaged_the_trial_begins_anew(home: Path) -> None:
    straight = Study(home / "straight")
    straight.run()
    study = Study(home / "damaged")
    study.stop_at(18)
    for path in full_files(study).values():
        path.write_bytes(path.read_bytes()[:100])
    study.run(at_most=4)
    assert study.results() == straight.results()
    assert len(study.warnings) == 2


def test_a_damaged_donor_is_tried_once_and_the_fork_trains_what_it_lacks(home: Path) -> None:
    longer = replace(SPEC, max_train_steps=30)
    alone = Study(home / "alone", SPEC, longer)
    alone.run()
    assert alone.trials()[1].forked_from is not None
    study = Study(home / "damaged", SPEC, longer)
    study.step()
    donor = full_files(study)[15]
    flip(donor)
    study.run(at_most=3)
    assert len(study.warnings) == 1
    assert study.trials()[1].forked_from is None
    assert study.results() == alone.results()


def test_damaged_best_weights_are_made_again_by_training_and_are_the_very_same(home: Path) -> None:
    study = Study(home)
    (trial,) = study.run()
    best = study.store.best_checkpoint(1)
    assert best is not None
    files = [file for file in study.store.checkpoints(1) if file.global_step == best.global_step]
    paths = [study.store.paths.resolve(file.path) for file in files]
    before = study.bench.test_values(trial, EVAL, best)
    for path in paths:
        flip(path)
    found = whole_best_weights(study.bench, trial, EVAL)
    assert found is not None
    assert found.id in {file.id for file in files}
    assert study.bench.test_values(trial, EVAL, found) == before
    assert len(study.warnings) == len(paths)
    assert study.warnings[-1].endswith("its weights were made again by training from step 15, and are the very same")
    assert all(path.with_name(f"{path.name}.damaged").is_file() for path in paths)


@pytest.mark.slow
def test_best_weights_that_other_data_gave_are_not_replaced(home: Path) -> None:
    study = Study(home)
    (trial,) = study.run()
    best = study.store.best_checkpoint(1)
    for file in study.store.checkpoints(1):
        if file.global_step == best.global_step:
            study.store.paths.resolve(file.path).unlink()
    study.bench = study.new_bench()
    study.bench.workload({}).dropout = 0.4
    assert whole_best_weights(study.bench, trial, EVAL) is None
    assert "gave other weights, so that there are none of that step" in study.warnings[-1]
    assert not study.store.paths.resolve(best.path).exists()
