"""Unclipped gradient norms: what an evaluation tells of them, whatever was saved, resumed or forked in between."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from training_workloads import Ragged, advance, run_of

from tuner.records import UPDATES
from tuner.training.checkpoint import write_checkpoint
from tuner.training.gradient_norms import WINDOW, GradientNorms
from tuner.training.loop import Evaluated, train


def rows(run, until=100, evals=range(10, 101, 10)):
    """(step, metric, value) of what the updates were like, at each evaluation."""
    events = train(run, until=until, eval_steps=frozenset(evals), checkpoint_steps=())
    return [
        (row.global_step, row.metric, row.value)
        for event in events
        if isinstance(event, Evaluated)
        for row in event.evaluations
        if row.split == UPDATES
    ]


def test_the_summary_is_of_the_latest_hundred_updates():
    norms = GradientNorms(torch.device("cpu"))
    values = np.random.default_rng(0).lognormal(size=230).astype(np.float32)
    assert norms.summary(0, 1.0) == {}
    for update, value in enumerate(values):
        norms.record(update, torch.tensor(value))
        latest = values[max(0, update + 1 - WINDOW) : update + 1].astype(np.float64)
        found = norms.summary(update + 1, 1.0)
        assert found["grad_norm"] == latest[-1]
        assert found["grad_norm_p90"] == pytest.approx(np.percentile(latest, 90), rel=1e-12)
        assert found["clipped_share"] == np.mean(latest > 1.0)


def test_an_update_that_was_skipped_is_no_norm():
    norms = GradientNorms(torch.device("cpu"))
    for update, value in enumerate([1.0, 3.0, math.inf]):
        norms.record(update, torch.tensor(value))
    assert norms.summary(3, 2.0) == {"grad_norm_p90": pytest.approx(2.8), "clipped_share": 0.5}


def test_norms_are_those_before_clipping_and_are_told_without_it_too():
    clipped, free = (dict(rows_of(run_of(Ragged(), max_grad_norm=norm))) for norm in (1e-3, None))
    assert clipped["grad_norm"] == pytest.approx(free["grad_norm"], rel=1e-5)
    assert clipped["clipped_share"] == 1.0
    assert "clipped_share" not in free


def rows_of(run):
    return [(metric, value) for _, metric, value in rows(run, until=1, evals=(1,))]


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
@pytest.mark.parametrize("saved_at", [7, 35, 60])
def test_a_resumed_run_tells_the_very_rows_of_one_that_was_not_interrupted(tmp_path, saved_at, precision):
    straight = rows(run_of(Ragged(), precision=precision))
    path = tmp_path / "between.safetensors"
    advance(run_of(Ragged(), precision=precision), saved_at).copy_full().save(path)
    resumed = run_of(Ragged(), precision=precision)
    resumed.load(path)
    assert rows(resumed) == [row for row in straight if row[0] > saved_at]


def test_a_fork_with_another_cadence_tells_the_rows_of_its_own(tmp_path):
    donor, path = run_of(Ragged()), tmp_path / "trunk.safetensors"
    rows(donor, until=71, evals=(*range(5, 71, 5), 71))
    donor.copy_full().save(path)
    fork = run_of(Ragged(), max_train_steps=150)
    fork.load(path)
    alone = rows(run_of(Ragged(), max_train_steps=150), until=150, evals=(50, 100, 150))
    assert rows(fork, until=150, evals=(50, 100, 150)) == [row for row in alone if row[0] > 71]


def test_evaluating_oftener_changes_no_row():
    often, seldom = rows(run_of(Ragged()), evals=range(1, 101)), rows(run_of(Ragged()))
    assert [row for row in often if row[0] % 10 == 0] == seldom


def test_a_checkpoint_of_before_norms_were_kept_still_loads(tmp_path):
    run, path = advance(run_of(Ragged()), 20), tmp_path / "old.safetensors"
    run.copy_full().save(path)
    tensors = load_file(path)
    del tensors["updates.grad_norms"]
    facts = {"kind": "full", "global_step": 20, "recipe_key": run.recipe_key(), "num_skipped_updates": 0}
    write_checkpoint(path, tensors, {**facts, "is_finite": True, "scaler": None})
    old = run_of(Ragged())
    old.load(path)
    assert advance(old, 40).weights_digest() == advance(run, 40).weights_digest()
    assert old.gradient_summary()["grad_norm"] == run.gradient_summary()["grad_norm"]
