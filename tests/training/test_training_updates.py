"""One update at a time: accumulation, fp16, and the same numbers as transformers' Trainer."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from training_workloads import EXECUTION, SPEC, Ragged, advance, language_model, run_of

from tuner.errors import ConfigError
from tuner.records import ScheduleSpec
from tuner.training.run import TrainingRun
from tuner.workloads.interface import Workload

NO_DECAY = ScheduleSpec(kind="constant", warmup_steps=0)


def gradients(run: TrainingRun) -> list[torch.Tensor]:
    return [parameter.grad.clone() for parameter in run.model.parameters()]


@pytest.mark.parametrize("micro_batch_size", [1, 2, 4])
def test_gradients_of_micro_batches_equal_the_full_batchs_at_unequal_lengths(micro_batch_size):
    workload = Ragged()
    whole = run_of(workload, global_batch_size=16, max_grad_norm=None)
    parts = run_of(workload, global_batch_size=16, max_grad_norm=None, micro_batch_size=micro_batch_size)
    batches, _ = parts._batches(0)
    assert len({workload.num_targets(batch) for batch in batches}) > 1
    whole.update()
    parts.update()
    for one, other in zip(gradients(whole), gradients(parts), strict=True):
        torch.testing.assert_close(other, one, rtol=0, atol=1e-6)
    assert float(parts.loss_total) == pytest.approx(float(whole.loss_total), rel=1e-6)


def test_padding_carries_no_loss():
    workload = Ragged()
    run = run_of(workload, global_batch_size=16, max_grad_norm=None)
    rows = run._order.examples(0)
    expected = [torch.zeros_like(parameter) for parameter in run.model.parameters()]
    num_targets = sum(len(workload.examples[row]) for row in rows)
    for row in rows:
        # Alone a sequence needs no padding.
        loss = workload.loss_sum(run.model, workload.batch("train", np.array([row]))) / num_targets
        for total, gradient in zip(expected, torch.autograd.grad(loss, list(run.model.parameters())), strict=True):
            total += gradient
    run.update()
    for one, other in zip(expected, gradients(run), strict=True):
        torch.testing.assert_close(other, one, rtol=0, atol=1e-6)


def test_fp16_with_accumulation_skips_no_more_updates_than_without(tmp_path):
    workload = language_model(tmp_path)
    changes = {"precision": "fp16", "global_batch_size": 32, "schedule": NO_DECAY}
    whole = advance(run_of(workload, **changes), 12)
    parts = advance(run_of(workload, micro_batch_size=4, **changes), 12)
    assert parts.num_skipped_updates <= whole.num_skipped_updates == 0


def test_skipped_updates_are_counted_and_change_no_weight():
    run = run_of(Ragged(), precision="fp16")
    before = run.weights_digest()
    run._scaler.load_state_dict({**run._scaler.state_dict(), "scale": 2.0**100})
    advance(run, 3)
    assert (run.global_step, run.num_skipped_updates) == (3, 3)
    assert run.weights_digest() == before


def test_clipping_logs_the_norm_from_before():
    free, clipped = run_of(Ragged(), max_grad_norm=None), run_of(Ragged(), max_grad_norm=1e-3)
    for run in (free, clipped):
        run.update()
    assert float(clipped.grad_norm()) == pytest.approx(float(free.grad_norm()), rel=1e-6)
    assert float(torch.nn.utils.get_total_norm(gradients(clipped))) == pytest.approx(1e-3, rel=1e-2)


def test_fifty_updates_equal_transformers_trainer(tmp_path):
    workload = language_model(tmp_path, dropout=0.0)
    spec = replace(
        SPEC,
        max_train_steps=50,
        global_batch_size=16,
        schedule=ScheduleSpec(kind="warmup_stable_decay", warmup_steps=0, decay_steps=50),
    )
    run = run_of(workload, micro_batch_size=4, max_train_steps=50, global_batch_size=16, schedule=spec.schedule)
    theirs = run_of(workload, global_batch_size=16).model
    micro_batches = [batch for step in range(50) for batch in run._batches(step)[0]]
    train_with_trainer(theirs, micro_batches, spec, tmp_path, accumulation=4)
    advance(run, 50)
    ours = dict(run.model.named_parameters())
    for name, parameter in theirs.named_parameters():
        one, other = ours[name].detach(), parameter.detach()
        if name.endswith("c_attn.bias"):
            # Attention does not depend on the keys' bias: its gradient is rounding, which Adam scales up.
            one, other = (torch.cat([bias[:16], bias[32:]]) for bias in (one, other))
        assert float((one - other).norm() / other.norm()) < 1e-5, name


def train_with_trainer(model, micro_batches, spec, folder, *, accumulation) -> None:
    from transformers import Trainer, TrainingArguments

    arguments = TrainingArguments(
        output_dir=str(folder / "trainer"),
        max_steps=spec.max_train_steps,
        per_device_train_batch_size=spec.global_batch_size // accumulation,
        gradient_accumulation_steps=accumulation,
        learning_rate=spec.learning_rate,
        weight_decay=spec.optimizer.weight_decay,
        adam_beta1=spec.optimizer.beta1,
        adam_beta2=spec.optimizer.beta2,
        adam_epsilon=spec.optimizer.epsilon,
        max_grad_norm=spec.max_grad_norm,
        lr_scheduler_type="linear",
        optim="adamw_torch_fused",
        use_cpu=True,
        report_to="none",
        save_strategy="no",
        logging_strategy="no",
        disable_tqdm=True,
    )
    data = [{"input_ids": batch["inputs"], "labels": batch["targets"]} for batch in micro_batches]
    num_targets = accumulation * micro_batches[0]["targets"].numel()

    def loss(outputs, labels, num_items_in_batch=None):
        return F.cross_entropy(outputs["logits"].flatten(0, 1), labels.flatten(), reduction="sum") / num_targets

    class OurBatches(Trainer):
        def get_train_dataloader(self):
            return torch.utils.data.DataLoader(data, batch_size=None)

    OurBatches(model=model, args=arguments, compute_loss_func=loss).train()


@pytest.mark.parametrize(
    ("precision", "expected"),
    [("fp32", 3.5266801), ("bf16", 3.5260270), ("fp16", 3.5269690)],
)
def test_losses_are_golden(tmp_path, precision, expected):
    run = advance(run_of(language_model(tmp_path), precision=precision), 40)
    tolerance = 1e-4 if precision == "fp32" else 1e-3
    assert run.evaluate("validation")["loss"] == pytest.approx(expected, rel=tolerance)


@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp16"])
def test_a_run_after_another_in_one_process_equals_the_run_alone(tmp_path, precision):
    workload = language_model(tmp_path)
    alone = advance(run_of(workload, precision=precision), 20).weights_digest()
    disturb(workload)
    assert advance(run_of(workload, precision=precision), 20).weights_digest() == alone


def disturb(workload: Workload) -> None:
    """Another run with other settings, and a user's code that leaves global switches behind."""
    other = replace(EXECUTION, torch_threads=2)
    advance(TrainingRun(replace(SPEC, seed=5, precision="fp16"), run_of(workload).eval_spec, other, workload), 3)
    torch.set_float32_matmul_precision("medium")
    torch.use_deterministic_algorithms(False)
    torch.set_grad_enabled(False)
    torch.set_flush_denormal(True)
    torch.manual_seed(99)


def test_seeds_decide_weights_and_order(tmp_path):
    workload = language_model(tmp_path)
    digests = {seed: run_of(workload, seed=seed).weights_digest() for seed in (0, 1, 2)}
    assert len(set(digests.values())) == 3
    assert run_of(workload, seed=0).weights_digest() == digests[0]


def test_what_the_machine_or_the_batch_cannot_do_is_refused():
    with pytest.raises(ConfigError, match=r"micro_batch_size=3 does not divide training\.global_batch_size=8"):
        run_of(Ragged(), micro_batch_size=3)
    elsewhere = replace(EXECUTION, device="meta")
    with pytest.raises(ConfigError, match=r"execution\.device=meta: runs are made on cpu or cuda"):
        TrainingRun(SPEC, run_of(Ragged()).eval_spec, elsewhere, Ragged())


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has CUDA")
def test_a_missing_cuda_device_is_refused():
    with pytest.raises(ConfigError, match="finds no CUDA device here; use device: cpu"):
        TrainingRun(SPEC, run_of(Ragged()).eval_spec, replace(EXECUTION, device="cuda"), Ragged())
