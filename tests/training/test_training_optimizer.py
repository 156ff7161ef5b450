"""Decay groups and fused optimizers."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from training_workloads import SPEC, Ragged, advance, run_of

from tuner.errors import ConfigError
from tuner.records import OptimizerSpec
from tuner.training.optimizer import build_optimizer, decay_groups, optimizer_tensors


class OwnRMSNorm(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(2, 3))


class Zoo(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(5, 3)
        self.linear = nn.Linear(3, 3)
        self.layer_norm, self.group_norm, self.batch_norm = nn.LayerNorm(3), nn.GroupNorm(1, 3), nn.BatchNorm1d(3)
        self.own = OwnRMSNorm()
        self.normalised_head = nn.Linear(3, 5, bias=False)
        self.normalised_head.weight = self.embedding.weight
        self.attention = nn.MultiheadAttention(3, 1)
        self.gain = nn.Parameter(torch.ones(3))
        self.matrix_bias = nn.Parameter(torch.zeros(3, 3))
        self.frozen = nn.Linear(3, 3).requires_grad_(False)


def test_biases_norms_and_vectors_are_spared_from_decay():
    decayed, spared = decay_groups(Zoo())
    assert [name for name, _ in decayed] == [
        "embedding.weight",
        "linear.weight",
        "attention.in_proj_weight",
        "attention.out_proj.weight",
    ]
    assert {name for name, _ in spared} == {
        "gain",
        "matrix_bias",
        "linear.bias",
        "layer_norm.weight",
        "layer_norm.bias",
        "group_norm.weight",
        "group_norm.bias",
        "batch_norm.weight",
        "batch_norm.bias",
        "own.scale",
        "attention.in_proj_bias",
        "attention.out_proj.bias",
    }


@pytest.mark.parametrize("name", ["adamw", "sgd"])
def test_state_made_up_front_changes_no_update(name):
    spec = OptimizerSpec(name=name, weight_decay=0.1)
    torch.manual_seed(0)
    ours = Zoo()
    theirs = Zoo()
    theirs.load_state_dict(ours.state_dict())
    made = build_optimizer(ours, spec)
    decayed, spared = decay_groups(theirs)
    groups = [
        {"params": [p for _, p in decayed], "weight_decay": 0.1},
        {"params": [p for _, p in spared], "weight_decay": 0},
    ]
    plain = (
        torch.optim.AdamW(groups, lr=0.1, fused=True)
        if name == "adamw"
        else torch.optim.SGD(groups, lr=0.1, momentum=0.9, fused=True)
    )
    for step in range(5):
        for model, optimizer in ((ours, made), (theirs, plain)):
            torch.manual_seed(step)
            for parameter in model.parameters():
                parameter.grad = torch.randn_like(parameter) if parameter.requires_grad else None
            for group in optimizer.param_groups:
                group["lr"] = 0.1
            optimizer.step()
    assert all(torch.equal(a, b) for a, b in zip(ours.parameters(), theirs.parameters(), strict=True))


def test_an_update_that_fp16_skips_first_leaves_sgd_momentum_at_zero():
    run = run_of(Ragged(), precision="fp16", optimizer=OptimizerSpec(name="sgd", weight_decay=0.0))
    run._scaler.load_state_dict({**run._scaler.state_dict(), "scale": 2.0**60})
    before = [p.detach().clone() for p in run.model.parameters()]
    run.update()
    assert run.num_skipped_updates == 1
    assert all(torch.equal(a, b) for a, b in zip(before, run.model.parameters(), strict=True))
    assert all(not tensor.any() for tensor in optimizer_tensors(run.model, run._optimizer).values())


def test_sgd_learns():
    run = run_of(Ragged(), optimizer=OptimizerSpec(name="sgd", weight_decay=0.0), learning_rate=0.5)
    before = run.evaluate("train")["loss"]
    assert advance(run, 100).evaluate("train")["loss"] < 0.9 * before


def test_a_model_that_cannot_be_trained_is_refused():
    with pytest.raises(ConfigError, match="a Linear without trainable parameters"):
        build_optimizer(nn.Linear(2, 2).requires_grad_(False), SPEC.optimizer)
    with pytest.raises(ConfigError, match=r"parameter weight is torch\.float16"):
        build_optimizer(nn.Linear(2, 2).half(), SPEC.optimizer)
