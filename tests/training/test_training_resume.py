"""A run that was saved and loaded goes on bit for bit, also in another process."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from training_workloads import Ragged, advance, language_model, run_of

import tuner
from tuner.errors import TryAgainLater
from tuner.training.durable import CheckpointDamaged, CheckpointMismatch

HERE = Path(__file__).parent
PRECISIONS = ("fp32", "bf16", "fp16")


@pytest.mark.slow
def test_a_hundred_updates_equal_sixty_and_forty_in_a_new_process(tmp_path):
    workload = language_model(tmp_path)
    straight = {}
    for precision in PRECISIONS:
        run = run_of(workload, precision=precision, micro_batch_size=2)
        if precision == "fp16":
            # So high that the first updates are skipped: the scaler's state must travel too.
            run._scaler.load_state_dict({**run._scaler.state_dict(), "scale": 2.0**32})
        advance(run, 60).copy_full().save(tmp_path / f"{precision}.safetensors")
        straight[precision] = [advance(run, 100).weights_digest(), run.num_skipped_updates]
    assert straight["fp16"][1] > 0
    assert in_new_process(tmp_path, *PRECISIONS) == straight


def in_new_process(folder: Path, *precisions: str) -> dict:
    path = os.pathsep.join([str(Path(tuner.__file__).parents[1]), str(HERE)])
    done = subprocess.run(
        [sys.executable, "-W", "error", str(HERE / "training_resume_child.py"), str(folder), *precisions],
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_a_llama_with_dropout_learns_and_goes_on_bit_for_bit(tmp_path):
    workload = language_model(tmp_path, architecture="llama")
    run = run_of(workload)
    first = run.evaluate("validation")["loss"]
    advance(run, 30).copy_full().save(tmp_path / "llama.safetensors")
    again = run_of(workload)
    again.load(tmp_path / "llama.safetensors")
    assert advance(again, 60).weights_digest() == advance(run, 60).weights_digest()
    assert run.evaluate("validation")["loss"] < first - 0.3


def test_a_longer_run_goes_on_from_a_shorter_ones_plateau(tmp_path):
    workload = Ragged()
    short = advance(run_of(workload), 71)
    short.copy_full().save(tmp_path / "trunk.safetensors")
    fork = run_of(workload, max_train_steps=150)
    fork.load(tmp_path / "trunk.safetensors")
    whole = advance(run_of(workload, max_train_steps=150), 150)
    assert advance(fork, 150).weights_digest() == whole.weights_digest()


def test_a_checkpoint_of_the_decay_is_no_longer_the_longer_runs(tmp_path):
    short = advance(run_of(Ragged()), 72)
    short.copy_full().save(tmp_path / "decay.safetensors")
    with pytest.raises(CheckpointMismatch, match="at step 72 was made by another recipe"):
        run_of(Ragged(), max_train_steps=150).load(tmp_path / "decay.safetensors")


@pytest.mark.parametrize(
    "changes",
    [{"seed": 9}, {"learning_rate": 1e-3}, {"precision": "bf16"}, {"max_grad_norm": None}],
)
def test_another_recipes_checkpoint_is_refused(tmp_path, changes):
    advance(run_of(Ragged()), 5).copy_full().save(tmp_path / "one.safetensors")
    other = run_of(Ragged(), **changes)
    before = other.weights_digest()
    with pytest.raises(CheckpointMismatch, match="made by another recipe"):
        other.load(tmp_path / "one.safetensors")
    assert (other.weights_digest(), other.global_step) == (before, 0)


def test_weights_alone_are_no_state_to_go_on_from(tmp_path):
    run = advance(run_of(Ragged()), 5)
    run.copy_weights().save(tmp_path / "weights.safetensors")
    with pytest.raises(CheckpointMismatch, match="holds weights only"):
        run.load(tmp_path / "weights.safetensors")


def test_a_non_finite_loss_before_the_checkpoint_is_remembered(tmp_path):
    run = advance(run_of(Ragged()), 5)
    run.loss_total.fill_(float("inf"))
    run.copy_full().save(tmp_path / "one.safetensors")
    resumed = run_of(Ragged())
    resumed.load(tmp_path / "one.safetensors")
    assert not resumed.is_finite()


def test_damage_is_detected(tmp_path):
    path = tmp_path / "one.safetensors"
    saved = advance(run_of(Ragged()), 3).copy_full().save(path)
    whole = path.read_bytes()
    run = run_of(Ragged())
    run.load(path, sha256=saved.sha256)
    path.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    with pytest.raises(CheckpointDamaged, match=r"one\.safetensors was altered"):
        run.load(path, sha256=saved.sha256)
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(CheckpointDamaged, match="cannot be read"):
        run.load(path)
    path.unlink()
    with pytest.raises(CheckpointDamaged, match="is missing"):
        run.load(path)


def test_a_full_disk_leaves_nothing_behind_and_may_be_tried_again(tmp_path, monkeypatch):
    run = advance(run_of(Ragged()), 3)
    old = run.copy_full().save(tmp_path / "one.safetensors")

    def fill_the_disk(descriptor):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("os.fsync", fill_the_disk)
    with pytest.raises(TryAgainLater, match=r"the disk is full: .*one\.safetensors could not be written"):
        advance(run, 4).copy_full().save(tmp_path / "one.safetensors")
    assert [path.name for path in tmp_path.iterdir()] == ["one.safetensors"]
    run_of(Ragged()).load(old.path, sha256=old.sha256)


def test_equal_states_are_equal_files_and_leave_nothing_beside_them(tmp_path):
    run = advance(run_of(Ragged()), 4)
    saved = [run.copy_full().save(tmp_path / "deep" / f"{number}.safetensors") for number in range(4)]
    assert len({file.sha256 for file in saved}) == 1
    assert len({file.path.read_bytes() for file in saved}) == 1
    assert sorted(path.name for path in (tmp_path / "deep").iterdir()) == [file.path.name for file in saved]
    assert saved[0].size_bytes == saved[0].path.stat().st_size
    assert saved[0].weights_digest == run.weights_digest() == run.copy_weights().save(tmp_path / "w").weights_digest


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_a_copy_is_the_file_of_its_step_whenever_it_is_written(tmp_path, precision):
    run = advance(run_of(Ragged(), precision=precision), 4)
    then = [run.copy_full().save(tmp_path / "then"), run.copy_weights().save(tmp_path / "then-weights")]
    copies = [run.copy_full(), run.copy_weights()]
    advance(run, 12)
    later = [copy.save(tmp_path / f"later-{number}") for number, copy in enumerate(copies)]
    assert [file.sha256 for file in later] == [file.sha256 for file in then]
    assert [file.weights_digest for file in later] == [file.weights_digest for file in then]
    assert run.copy_full().save(tmp_path / "now").sha256 != later[0].sha256
