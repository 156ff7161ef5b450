"""Evaluation: right numbers, on its own batches, and no trace left."""

from __future__ import annotations

import math
import random
from dataclasses import replace

import numpy as np
import pytest
import torch
from training_workloads import EVAL, EXECUTION, SPEC, Ragged, advance, language_model, run_of

from tuner.training.durable import CheckpointDamaged, CheckpointMismatch
from tuner.training.evaluation import evaluate, evaluated_examples
from tuner.training.loop import train
from tuner.training.run import TrainingRun
from tuner.training.scoring import ScoredFile, score_weights

CPU = torch.device("cpu")


class Random(Ragged):
    """Scores that depend on torch's default generator."""

    def score_sums(self, model, batch):
        return {"loss": self.loss_sum(model, batch), "noise": torch.rand(())}


class Noisy(Ragged):
    """A user's workload that draws from every generator while it scores."""

    def score_sums(self, model, batch):
        model.train()
        noise = torch.rand(()) + np.random.rand() + random.random()
        return {"loss": self.loss_sum(model, batch), "noise": noise}


def test_the_loss_is_per_target_not_the_mean_of_batch_means():
    run = run_of(Ragged())
    batch = Ragged().batch("train", np.arange(64))
    with torch.no_grad():
        expected = float(Ragged().loss_sum(run.model, batch)) / Ragged().num_targets(batch)
    values = {}
    for size in (1, 7, 64):
        spec = replace(EVAL, batch_size=size, num_train_examples=64)
        values[size] = evaluate(run.model, Ragged(), split="train", spec=spec, precision="fp32", device=CPU)
    for found in values.values():
        assert found["loss"] == pytest.approx(expected, rel=1e-6)
        assert found["perplexity"] == math.exp(found["loss"])


def test_the_result_does_not_depend_on_the_trainings_micro_batch(tmp_path):
    workload = language_model(tmp_path)
    runs = [run_of(workload, micro_batch_size=size) for size in (1, 8)]
    assert runs[0].evaluate("validation") == runs[1].evaluate("validation")


def test_dropout_is_off_while_measuring(tmp_path):
    runs = [run_of(language_model(tmp_path, dropout=rate)) for rate in (0.0, 0.5)]
    assert runs[0].evaluate("train") == runs[1].evaluate("train")


def test_samples_are_fixed_random_and_bounded():
    spec = replace(EVAL, num_train_examples=10, max_validation_examples=5)
    sample = evaluated_examples(1000, "train", spec)
    assert len(set(sample.tolist())) == 10
    assert sample.max() > 100
    assert np.array_equal(sample, evaluated_examples(1000, "train", spec))
    assert len(evaluated_examples(1000, "validation", spec)) == 5
    assert np.array_equal(evaluated_examples(1000, "test", spec), np.arange(1000))
    assert np.array_equal(evaluated_examples(7, "train", spec), np.arange(7))


def test_evaluation_leaves_random_states_and_train_flags_as_found():
    run = run_of(Noisy())
    run.model[2].eval()
    flags = [module.training for module in run.model.modules()]
    states = torch.get_rng_state(), np.random.get_state()[1].copy(), random.getstate()
    first = run.evaluate("train")["loss"]
    assert [module.training for module in run.model.modules()] == flags
    assert torch.equal(torch.get_rng_state(), states[0])
    assert np.array_equal(np.random.get_state()[1], states[1])
    assert random.getstate() == states[2]
    assert run.evaluate("train")["loss"] == first


def test_what_torch_draws_while_scoring_is_the_same_at_every_evaluation():
    run = run_of(Random())
    first = run.evaluate("train")["noise"]
    torch.manual_seed(77)
    assert run.evaluate("train")["noise"] == first


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_cadences_of_evaluation_and_checkpoints_change_no_weight(tmp_path, precision):
    workload = language_model(tmp_path)
    digests = set()
    for evals, checkpoints in (((), ()), (range(1, 41), ()), ((7, 20), range(3, 40, 3))):
        run = run_of(workload, precision=precision)
        for _ in train(run, until=40, eval_steps=frozenset(evals), checkpoint_steps=frozenset(checkpoints)):
            run.copy_full().save(tmp_path / "any.safetensors")
        digests.add(run.weights_digest())
    assert len(digests) == 1


def test_saved_weights_score_as_the_run_did(tmp_path):
    workload = language_model(tmp_path)
    run = advance(run_of(workload, precision="bf16"), 10)
    expected = run.evaluate("test")
    for copied in (run.copy_weights(), run.copy_full()):
        path = copied.save(tmp_path / "any.safetensors").path
        found = score_weights(
            ScoredFile(path=path, precision="bf16"), workload, split="test", eval_spec=EVAL, execution=EXECUTION
        )
        assert found == expected


def test_weights_of_another_model_are_refused(tmp_path):
    path = run_of(Ragged()).copy_weights().save(tmp_path / "any.safetensors").path
    file = ScoredFile(path=path, precision="fp32")
    with pytest.raises(CheckpointMismatch, match="is of another model"):
        score_weights(file, language_model(tmp_path), split="test", eval_spec=EVAL, execution=EXECUTION)


def test_a_damaged_file_has_no_score(tmp_path):
    workload = language_model(tmp_path)
    saved = run_of(workload).copy_weights().save(tmp_path / "any.safetensors")
    content = bytearray(saved.path.read_bytes())
    content[-5] ^= 1
    saved.path.write_bytes(content)
    file = ScoredFile(path=saved.path, precision="fp32", sha256=saved.sha256)
    with pytest.raises(CheckpointDamaged):
        score_weights(file, workload, split="test", eval_spec=EVAL, execution=EXECUTION)


def test_a_new_run_is_in_train_mode():
    assert TrainingRun(SPEC, EVAL, EXECUTION, Ragged()).model.training
