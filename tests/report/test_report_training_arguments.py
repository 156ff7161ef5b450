"""The answer as a Trainer's settings: the pasted snippet runs, and its learning rates are those of the study."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from sample_studies import make_spec
from transformers import Trainer, TrainingArguments
from transformers.trainer_utils import set_seed

from tuner.records import OptimizerSpec, ScheduleSpec
from tuner.report.training_arguments import notes, snippet, training_arguments
from tuner.training.schedule import learning_rates

SPEC = make_spec(300, 3.2e-3, every=12, decay=60, seed=5)


def arguments(spec, tmp_path, *, metric: str = "loss", micro: int = 4) -> TrainingArguments:
    """What the printed Python builds."""
    settings = training_arguments(
        spec, micro_batch_size=micro, metric=metric, direction="minimize", output_dir=str(tmp_path)
    )
    names: dict[str, object] = {}
    exec(snippet(settings, comments=notes(spec, metric=metric)), names)
    return names["args"]


def trainer_rates(args: TrainingArguments) -> np.ndarray:
    """The rate of each update as the Trainer's own optimizer and scheduler give it."""
    model = torch.nn.Linear(2, 2)
    trainer = Trainer(model=model, args=args, eval_dataset=[{}])
    trainer.create_optimizer_and_scheduler(args.max_steps)
    rates = []
    for _ in range(args.max_steps):
        rates.append(trainer.optimizer.param_groups[0]["lr"])
        trainer.optimizer.step()
        trainer.lr_scheduler.step()
    return np.array(rates)


@pytest.mark.parametrize("shape", ["linear", "1-sqrt", "cosine"])
def test_trainers_rates_are_the_studys_after_warmup_and_one_update_late_in_it(tmp_path, shape):
    spec = replace(SPEC, schedule=replace(SPEC.schedule, decay_shape=shape))
    ours, theirs = learning_rates(spec, 0, 300), trainer_rates(arguments(spec, tmp_path))
    warmup = spec.schedule.warmup_steps
    np.testing.assert_allclose(theirs[warmup:], ours[warmup:], rtol=1e-12)
    # The difference that the notes tell of.
    assert theirs[0] == 0
    np.testing.assert_allclose(theirs[1:warmup], ours[: warmup - 1], rtol=1e-12)
    assert "its first update changes nothing" in " ".join(notes(spec, metric="loss"))


def test_without_warmup_all_rates_agree_and_no_note_speaks_of_it(tmp_path):
    spec = replace(SPEC, schedule=replace(SPEC.schedule, warmup_steps=0))
    np.testing.assert_allclose(trainer_rates(arguments(spec, tmp_path)), learning_rates(spec, 0, 300), rtol=1e-12)
    assert "warmup" not in " ".join(notes(spec, metric="loss"))


@pytest.mark.parametrize("kind", ["linear", "cosine"])
def test_schedules_without_a_plateau_are_the_trainers_own(tmp_path, kind):
    spec = replace(SPEC, schedule=ScheduleSpec(kind=kind, warmup_steps=30))
    ours, theirs = learning_rates(spec, 0, 300), trainer_rates(arguments(spec, tmp_path))
    np.testing.assert_allclose(theirs[30:], ours[30:], rtol=1e-12)


def test_constant_schedule_stays_constant(tmp_path):
    spec = replace(SPEC, schedule=ScheduleSpec(kind="constant", warmup_steps=1))
    rates = trainer_rates(arguments(spec, tmp_path))
    np.testing.assert_allclose(rates[1:], learning_rates(spec, 1, 300), rtol=1e-12)


def test_every_setting_reaches_the_trainer(tmp_path):
    optimizer = OptimizerSpec(name="adamw", weight_decay=0.03, beta1=0.8, beta2=0.95, epsilon=1e-7)
    args = arguments(replace(SPEC, optimizer=optimizer, max_grad_norm=0.7), tmp_path)
    assert (args.max_steps, args.seed, args.warmup_steps) == (300, 5, 20)
    assert args.per_device_train_batch_size * args.gradient_accumulation_steps == SPEC.global_batch_size == 16
    assert (args.eval_steps, args.save_steps, args.load_best_model_at_end) == (12, 12, True)
    assert (args.metric_for_best_model, args.greater_is_better) == ("loss", False)
    assert (args.max_grad_norm, args.bf16, args.fp16) == (0.7, False, False)
    built = Trainer(model=torch.nn.Linear(2, 2), args=args, eval_dataset=[{}]).create_optimizer()
    assert isinstance(built, torch.optim.AdamW)
    assert (built.defaults["betas"], built.defaults["eps"]) == ((0.8, 0.95), 1e-7)
    assert [group["weight_decay"] for group in built.param_groups] == [0.03, 0.0]


def test_sgd_keeps_its_momentum(tmp_path):
    spec = replace(SPEC, optimizer=OptimizerSpec(name="sgd", weight_decay=0.1, momentum=0.85))
    built = Trainer(model=torch.nn.Linear(2, 2), args=arguments(spec, tmp_path), eval_dataset=[{}]).create_optimizer()
    assert isinstance(built, torch.optim.SGD)
    assert {group["momentum"] for group in built.param_groups} == {0.85}
    assert [group["weight_decay"] for group in built.param_groups] == [0.1, 0.0]


def test_unclipped_run_is_not_clipped_by_the_trainer(tmp_path):
    assert arguments(replace(SPEC, max_grad_norm=None), tmp_path).max_grad_norm == 0


def test_precision_is_passed_on():
    for precision, expected in (("fp32", (False, False)), ("bf16", (True, False)), ("fp16", (False, True))):
        settings = training_arguments(
            replace(SPEC, precision=precision), micro_batch_size=16, metric="loss", direction="minimize", output_dir="x"
        )
        assert (settings["bf16"], settings["fp16"]) == expected


def test_what_arguments_cannot_say_is_said_beside_them():
    spec = replace(SPEC, workload_options={"dropout": 0.25})
    told = " ".join(notes(spec, metric="accuracy"))
    assert "dropout=0.25" in told
    assert "compute_metrics returns a dict with the key 'accuracy'" in told
    assert "an update still takes 16 examples" in told
    settings = training_arguments(spec, micro_batch_size=16, metric="f1", direction="maximize", output_dir="x")
    assert settings["greater_is_better"] is True
    settings = training_arguments(spec, micro_batch_size=16, metric="loss", direction="minimize", output_dir="x")
    assert settings["greater_is_better"] is False


def test_seed_of_a_study_is_one_that_the_trainer_takes():
    set_seed(2**31 - 1)
