"""Memory that runs out in training: `auto` goes on smaller, a fixed micro-batch ends the trial with its remedy."""

from __future__ import annotations

import gc
import weakref
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from in_process import SPEC, Points, Study

from tuner.records import Outcome
from tuner.training.memory import OutOfMemory, is_out_of_memory


class Hungry(Points):
    """Raises what a device raises when a training batch has more than `fits` examples, from the `after`th batch on."""

    def __init__(self, fits: int, *, after: int = 0, error: type[Exception] = torch.OutOfMemoryError) -> None:
        super().__init__()
        self.fits, self.after, self.error = fits, after, error
        self.models: list[weakref.ref[torch.nn.Module]] = []
        self.num_alive: list[int] = []

    def build_model(self) -> torch.nn.Module:
        # Without a collection: what a cycle holds would still be there.
        self.num_alive.append(sum(model() is not None for model in self.models))
        model = super().build_model()
        self.models.append(weakref.ref(model))
        return model

    def loss_sum(self, model, batch):
        self.after -= 1
        if self.after < 0 and len(batch["labels"]) > self.fits:
            raise self.error("CUDA out of memory. Tried to allocate 2.00 GiB")
        return super().loss_sum(model, batch)


def sizes(study: Study, trial: int = 1) -> list[tuple[int, int]]:
    return [(part.from_step, part.segment["micro_batch_size"]) for part in study.store.numerics(trial)]


def test_auto_halves_until_it_fits_and_the_trial_is_that_of_the_smaller_size(home: Path) -> None:
    study = Study(home / "auto", workload=Hungry(4), micro_batch_size="auto")
    (trial,) = study.run()
    assert trial.outcome == Outcome("complete")
    assert sizes(study) == [(0, 4)], "it failed at the first update: begun anew, it is exact in itself"
    assert study.store.mixed_trials("x") == []
    assert [warning.split("it goes on with ")[1].split()[0] for warning in study.warnings] == ["8", "4"]
    fixed = Study(home / "fixed", micro_batch_size=4)
    fixed.run()
    assert study.results() == fixed.results()


@pytest.mark.slow
def test_the_default_is_auto_and_is_the_whole_batch_while_that_fits(home: Path) -> None:
    default, whole = Study(home / "default"), Study(home / "whole", micro_batch_size=16)
    assert default.config.execution.micro_batch_size == "auto"
    default.run()
    whole.run()
    assert default.results() == whole.results()
    assert sizes(default) == [(0, 16)]
    assert default.warnings == []


def test_in_the_midst_it_goes_on_from_the_newest_checkpoint_and_is_reported_as_not_bit_exact(home: Path) -> None:
    study = Study(home / "mixed", workload=Hungry(8, after=13), micro_batch_size="auto")
    (trial,) = study.run()
    assert trial.outcome == Outcome("complete")
    assert sizes(study) == [(0, 16), (12, 8)], "the update after the checkpoint was done again"
    assert study.store.mixed_trials("x") == [1]
    assert study.store.load("x").sharing == "statistical"
    # What it ends with is what the smaller size makes of the checkpoint at 12.
    halved = Study(home / "halved", micro_batch_size=16)
    halved.stop_at(12)
    halved.config = halved.config.model_copy(
        update={"execution": halved.config.execution.model_copy(update={"micro_batch_size": 8})}
    )
    halved.bench = halved.new_bench(other_numerics=True)
    halved.run()
    assert study.results() == halved.results()


@pytest.mark.slow
def test_another_worker_takes_a_trial_up_at_the_size_that_it_has(home: Path) -> None:
    study = Study(home, workload=Hungry(8, after=7), micro_batch_size="auto")
    assert study.step() == "released"
    assert study.stop_at(12) == "released"
    study.bench = study.new_bench()  # Knows nothing of what happened.
    (trial,) = study.run()
    assert trial.outcome == Outcome("complete")
    assert sizes(study) == [(0, 16), (6, 8)]
    assert len(study.warnings) == 1


@pytest.mark.slow
def test_later_trials_begin_with_the_size_that_worked_and_begun_ones_keep_theirs(home: Path) -> None:
    specs = (SPEC, replace(SPEC, seed=4), replace(SPEC, seed=5))
    study = Study(home, *specs, workload=Hungry(8, after=100), micro_batch_size="auto")
    study.stop_at(12)
    assert sizes(study, 1) == [(0, 16)]
    study.workload.after = 0
    study.store.claim("x", study.planner.owner)  # Held by another: this worker takes up the second.
    while study.store.load("x").trials()[1].outcome is None:
        study.step()
    assert sizes(study, 2) == [(0, 8)]
    study.step()
    assert sizes(study, 3) == [(0, 8)]
    assert len(study.warnings) == 1, "only the first trial had to fail"


@pytest.mark.slow
def test_a_fork_needs_a_donor_of_its_own_size(home: Path) -> None:
    longer = replace(SPEC, max_train_steps=30)
    study = Study(home, SPEC, longer, workload=Hungry(8, after=20), micro_batch_size="auto")
    _, second = study.run()
    assert sizes(study, 1) == [(0, 16)]
    assert second.forked_from is None, "the plateau at the whole batch has other bits"
    assert sizes(study, 2) == [(0, 8)]


@pytest.mark.slow
def test_one_example_that_does_not_fit_ends_the_trial_with_the_remedy(home: Path) -> None:
    study = Study(home, workload=Hungry(0), micro_batch_size="auto")
    (trial,) = study.run()
    assert trial.outcome is not None
    assert trial.outcome.kind == "crashed"
    assert trial.outcome.reason == (
        "out of memory in an update (CUDA out of memory. Tried to allocate 2.00 GiB) with micro-batches of 1, the "
        "smallest for execution.micro_batch_size=auto; use a smaller model or shorter examples, or fewer "
        "execution.workers on one device"
    )


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError,
        pytest.param(MemoryError, marks=pytest.mark.slow),
        pytest.param(RuntimeError, marks=pytest.mark.slow),
    ],
)
def test_a_fixed_micro_batch_ends_the_trial_at_once_with_the_remedy(home: Path, error: type[Exception]) -> None:
    study = Study(home, workload=Hungry(8, error=error), micro_batch_size=16)
    (trial,) = study.run(at_most=2)
    assert trial.attempts == 1
    reason = (
        "out of memory in an update (CUDA out of memory. Tried to allocate 2.00 GiB) with "
        "execution.micro_batch_size=16; use a smaller divisor of training.global_batch_size=16, or auto, which halves "
        "it when memory runs out"
    )
    assert trial.outcome == Outcome("crashed", reason)
    assert study.warnings == [f"trial 1 crashed: {reason}"]


def test_an_evaluation_that_does_not_fit_names_its_own_setting(home: Path) -> None:
    class Evaluated(Points):
        num_scored = 0

        def score_sums(self, model, batch):
            Evaluated.num_scored += 1
            if Evaluated.num_scored > 2:
                raise MemoryError
            return super().score_sums(model, batch)

    study = Study(home, workload=Evaluated(), micro_batch_size="auto")
    (trial,) = study.run(at_most=2)
    assert trial.outcome == Outcome(
        "crashed", "out of memory in an evaluation (MemoryError) with evaluation.batch_size=50; use a smaller one"
    )


def test_nothing_of_the_failed_run_is_alive_when_the_next_begins(home: Path) -> None:
    workload = Hungry(4)
    study = Study(home, workload=workload, micro_batch_size="auto")
    gc.disable()
    try:
        study.run()
    finally:
        gc.enable()
    assert workload.num_alive == [0, 0, 0]


def test_another_failure_is_not_taken_for_memory(home: Path) -> None:
    assert not is_out_of_memory(RuntimeError("mat1 and mat2 shapes cannot be multiplied"))
    assert not is_out_of_memory(ValueError("out of memory"))
    study = Study(home, workload=Hungry(8, error=ZeroDivisionError), micro_batch_size="auto")
    with pytest.raises(ZeroDivisionError):
        study.step()
    assert OutOfMemory("update", 4, "told").without_frames().args == OutOfMemory("update", 4, "told").args
