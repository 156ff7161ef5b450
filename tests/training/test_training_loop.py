"""The stream of events, and what TensorBoard shows."""

from __future__ import annotations

import math

import pytest
import torch
from training_workloads import Ragged, advance, run_of

from tuner.training.loop import CheckpointDue, Evaluated, Interrupted, NonFinite, train
from tuner.training.monitor import Monitor


class Breaking(Ragged):
    """Its loss becomes NaN at one update, or its score always."""

    def __init__(self, *, at: int = -1, score: float = 0.0) -> None:
        super().__init__()
        self.at, self.score, self.num_losses = at, score, 0

    def loss_sum(self, model, batch):
        self.num_losses += model.training
        return super().loss_sum(model, batch) * (math.nan if self.num_losses == self.at else 1.0)

    def score_sums(self, model, batch):
        return {"loss": super().loss_sum(model, batch) + self.score}


def events(run, until=20, evals=(5, 10, 20), checkpoints=(10, 15, 20), **others):
    return list(train(run, until=until, eval_steps=frozenset(evals), checkpoint_steps=frozenset(checkpoints), **others))


def shown(found) -> list[tuple[str, int]]:
    return [(type(event).__name__, event.global_step) for event in found]


def test_evaluations_come_before_checkpoints_of_the_same_step():
    assert shown(events(run_of(Ragged()))) == [
        ("Evaluated", 5),
        ("Evaluated", 10),
        ("CheckpointDue", 10),
        ("CheckpointDue", 15),
        ("Evaluated", 20),
        ("CheckpointDue", 20),
    ]


def test_an_evaluation_holds_both_splits_the_perplexity_and_the_gradients():
    (event,) = events(run_of(Ragged()), until=5, evals=(5,), checkpoints=())
    assert isinstance(event, Evaluated)
    assert [(e.split, e.metric, e.global_step) for e in event.evaluations] == [
        ("train", "loss", 5),
        ("train", "perplexity", 5),
        ("validation", "loss", 5),
        ("validation", "perplexity", 5),
        ("updates", "grad_norm_p90", 5),
        ("updates", "grad_norm", 5),
        ("updates", "clipped_share", 5),
    ]


def test_a_run_goes_on_where_it_stopped():
    run = run_of(Ragged())
    events(run, until=10)
    assert shown(events(run, until=20)) == [("CheckpointDue", 15), ("Evaluated", 20), ("CheckpointDue", 20)]
    assert events(run, until=20) == []
    assert run.weights_digest() == advance(run_of(Ragged()), 20).weights_digest()


def test_an_interrupt_ends_the_loop_before_the_next_update():
    run = run_of(Ragged())
    found = events(run, interrupted=lambda: run.global_step >= 12)
    assert found[-1] == Interrupted(global_step=12)
    assert CheckpointDue(global_step=15) not in found
    assert run.global_step == 12


@pytest.mark.parametrize("at", [1, 3, 5])
def test_a_non_finite_training_loss_is_found_at_the_next_evaluation(at):
    assert events(run_of(Breaking(at=at))) == [NonFinite(global_step=5, what="training loss")]


def test_it_is_found_at_the_same_step_whatever_was_saved_in_between(tmp_path):
    # In fp16 the update is skipped: the weights after it show nothing.
    run = run_of(Breaking(at=3), precision="fp16")
    assert shown(events(run, checkpoints=(4,)))[-1] == ("NonFinite", 5)
    run = advance(run_of(Breaking(at=3), precision="fp16"), 4)
    run.copy_full().save(tmp_path / "four.safetensors")
    resumed = run_of(Breaking(), precision="fp16")
    resumed.load(tmp_path / "four.safetensors")
    assert events(resumed) == [NonFinite(global_step=5, what="training loss")]


def test_a_non_finite_evaluation_ends_the_run():
    assert events(run_of(Breaking(score=math.inf))) == [NonFinite(global_step=5, what="train loss")]


def test_a_huge_loss_is_no_overflow():
    (event, *_) = events(run_of(Breaking(score=1e6)))
    assert isinstance(event, Evaluated)
    assert all(math.isfinite(evaluation.value) for evaluation in event.evaluations)


def test_training_and_evaluation_keep_separate_accounts():
    run = run_of(Ragged())
    events(run, evals=(), checkpoints=())
    assert run.seconds["train"] > 0
    assert run.seconds["eval"] == 0
    run = run_of(Ragged())
    events(run)
    assert run.seconds["eval"] > 0


def test_tensorboard_shows_scalars_once_per_interval(tmp_path):
    run = run_of(Ragged())
    monitor = Monitor(run, tmp_path, log_every_steps=5)
    events(run, monitor=monitor)
    monitor.close()
    scalars = read(tmp_path)
    assert set(scalars) == {
        "train/loss",
        "train/perplexity",
        "train/learning_rate",
        "train/grad_norm_unclipped",
        "memory/resident_bytes",
        "speed/targets_per_second",
        "speed/examples_per_second",
        "eval_train/loss",
        "eval_train/perplexity",
        "eval_validation/loss",
        "eval_validation/perplexity",
        "updates/grad_norm",
        "updates/grad_norm_p90",
        "updates/clipped_share",
    }
    assert [step for step, _ in scalars["train/loss"]] == [5, 10, 15, 20]
    assert [step for step, _ in scalars["eval_train/loss"]] == [5, 10, 20]
    assert sum(value for _, value in scalars["train/loss"]) * 5 == pytest.approx(float(run.loss_total), rel=1e-5)
    assert scalars["train/learning_rate"][0][1] == pytest.approx(3e-3 * 0.5)
    assert scalars["memory/resident_bytes"][0][1] > 10**7


def test_a_resumed_run_replaces_what_was_logged_beyond_its_checkpoint(tmp_path):
    run = run_of(Ragged())
    first = Monitor(run, tmp_path / "log", log_every_steps=5)
    for event in train(run, until=20, eval_steps=(), checkpoint_steps=(10,), monitor=first):
        run.copy_full().save(tmp_path / f"{event.global_step}.safetensors")
    first.close()
    resumed = run_of(Ragged())
    resumed.load(tmp_path / "10.safetensors")
    second = Monitor(resumed, tmp_path / "log", log_every_steps=5, from_step=10)
    events(resumed, until=15, evals=(), checkpoints=(), monitor=second)
    second.close()
    assert [step for step, _ in read(tmp_path / "log")["train/loss"]] == [5, 10, 15]


def test_being_watched_changes_no_weight(tmp_path):
    watched = run_of(Ragged(), max_grad_norm=None)
    monitor = Monitor(watched, tmp_path, log_every_steps=1)
    events(watched, monitor=monitor)
    monitor.close()
    assert watched.weights_digest() == advance(run_of(Ragged(), max_grad_norm=None), 20).weights_digest()


def read(folder) -> dict[str, list[tuple[int, float]]]:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    accumulator = EventAccumulator(str(folder))
    accumulator.Reload()
    return {
        tag: [(scalar.step, scalar.value) for scalar in accumulator.Scalars(tag)]
        for tag in accumulator.Tags()["scalars"]
    }


def test_threads_are_set_as_the_execution_says():
    run_of(Ragged())
    assert torch.get_num_threads() == 1
