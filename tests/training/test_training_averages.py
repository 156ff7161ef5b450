"""Averaged weights: what they are, that training never notices them, and that a resumed run has the same."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from training_workloads import EVAL, EXECUTION, SPEC, Ragged, advance, language_model, run_of

from tuner.training.averages import decay_at
from tuner.training.checkpoint import read_checkpoint
from tuner.training.loop import Evaluated, train
from tuner.training.monitor import Monitor
from tuner.training.recipe import eval_key
from tuner.training.run import TrainingRun

HORIZONS = (3, 20)


def averaged_run(workload=None, horizons=HORIZONS, **changes) -> TrainingRun:
    spec = replace(SPEC, **changes)
    return TrainingRun(spec, replace(EVAL, averaged_horizons=horizons), EXECUTION, workload or Ragged())


def test_averages_are_those_of_a_plain_loop_over_the_weights():
    run = averaged_run()
    expected = {horizon: [p.detach().double() for p in run.model.parameters()] for horizon in HORIZONS}
    for update in range(40):
        run.update()
        for horizon, averages in expected.items():
            kept = min(1 - 1 / horizon, (update + 1) / (update + 10))
            for index, parameter in enumerate(run.model.parameters()):
                averages[index] = kept * averages[index] + (1 - kept) * parameter.detach().double()
    for horizon, averages in expected.items():
        with run._averages.in_place(horizon):
            for parameter, average in zip(run.model.parameters(), averages, strict=True):
                torch.testing.assert_close(parameter.detach().double(), average, rtol=1e-5, atol=1e-6)


def test_a_horizon_of_one_update_is_the_weights_themselves():
    run = advance(averaged_run(horizons=(1,)), 7)
    own = run.weights_digest()
    with run._averages.in_place(1):
        assert run.weights_digest() == own
    assert decay_at(1000, 1) == 0


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_training_never_notices_that_averages_are_taken_and_measured(tmp_path, precision):
    workload = language_model(tmp_path)
    plain, averaged = run_of(workload, precision=precision), averaged_run(workload, precision=precision)
    for run in (plain, averaged):
        list(train(run, until=12, eval_steps=(4, 8, 12), checkpoint_steps=()))
    assert averaged.weights_digest() == plain.weights_digest()
    assert averaged.evaluate("train") == plain.evaluate("train")


def test_only_what_is_trained_is_averaged():
    class Frozen(Ragged):
        def build_model(self):
            model = super().build_model()
            model[0].weight.requires_grad = False
            model.register_buffer("counter", torch.zeros(3))
            return model

    names = averaged_run(Frozen())._averages.tensors()
    assert {name.split(".", 2)[2] for name in names} == {f"{n}.{kind}" for n in "123" for kind in ("weight", "bias")}
    assert len(names) == 6 * len(HORIZONS)


def measured(run, *, until, evals=(5, 10, 20), checkpoints=()):
    found = list(train(run, until=until, eval_steps=evals, checkpoint_steps=checkpoints))
    return [row for event in found if isinstance(event, Evaluated) for row in event.evaluations]


def test_an_evaluation_holds_validation_of_each_average():
    run = averaged_run()
    rows = measured(run, until=5)
    values = {(row.split, row.metric): row.value for row in rows}
    of_averages = [(split, metric) for split, metric in values if "averaged" in split]
    assert of_averages == [
        (f"validation_averaged_{horizon}", metric) for horizon in HORIZONS for metric in ("loss", "perplexity")
    ]
    with run._averages.in_place(20):
        assert run.evaluate("validation")["loss"] == values["validation_averaged_20", "loss"]
    assert values["validation_averaged_20", "loss"] != values["validation", "loss"]


def test_an_average_that_is_not_finite_has_no_rows_and_ends_nothing():
    run = advance(averaged_run(), 3)
    run._averages._sets[3][0].fill_(math.nan)
    splits = {row.split for row in measured(run, until=20)}
    assert splits == {"train", "validation", "validation_averaged_20", "updates"}


def test_a_resumed_or_forked_run_has_the_averages_of_the_whole_one(tmp_path):
    workload = Ragged()
    whole = averaged_run(workload)
    rows = [row for row in measured(whole, until=20) if row.global_step > 8]
    trunk = advance(averaged_run(workload, max_train_steps=90), 8)
    trunk.copy_full().save(tmp_path / "trunk.safetensors")
    resumed = averaged_run(workload)
    resumed.load(tmp_path / "trunk.safetensors")
    assert measured(resumed, until=20) == rows
    assert resumed.copy_full().save(tmp_path / "a").sha256 == whole.copy_full().save(tmp_path / "b").sha256


def test_an_average_whose_past_a_file_lacks_is_not_measured_from_there(tmp_path):
    advance(averaged_run(horizons=(20, 60)), 8).copy_full().save(tmp_path / "other.safetensors")
    advance(run_of(Ragged()), 8).copy_full().save(tmp_path / "older.safetensors")
    straight = advance(averaged_run(), 20)
    for name, known in (("other", (20,)), ("older", ())):
        run = averaged_run()
        run.load(tmp_path / f"{name}.safetensors")
        advance(run, 20).copy_full().save(tmp_path / "again.safetensors")
        tensors, _ = read_checkpoint(tmp_path / "again.safetensors")
        assert tuple(run.evaluate_averages()) == known
        assert {int(name.split(".")[1]) for name in tensors if name.startswith("averages.")} == set(known)
        assert all(run.evaluate_averages()[horizon] == straight.evaluate_averages()[horizon] for horizon in known)
    plain = run_of(Ragged())
    plain.load(tmp_path / "other.safetensors")
    assert plain.evaluate_averages() == {}


def test_keys_of_evaluations_without_averages_stay_those_of_before_there_were_any():
    before = "43d8faad612cc551fb306d3930a04b2bfe40ef569adb03f316ddc18f4b720079"
    assert eval_key(EVAL, {"kind": "w"}, "fp32") == before
    assert eval_key(replace(EVAL, averaged_horizons=(50,)), {"kind": "w"}, "fp32") != before


def test_tensorboard_shows_the_averages(tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    run = averaged_run()
    monitor = Monitor(run, tmp_path, log_every_steps=5)
    list(train(run, until=5, eval_steps=(5,), checkpoint_steps=(), monitor=monitor))
    monitor.close()
    shown = EventAccumulator(str(tmp_path))
    shown.Reload()
    assert "eval_validation_averaged_20/loss" in shown.Tags()["scalars"]
