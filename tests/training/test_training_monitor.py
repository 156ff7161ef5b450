"""TensorBoard's curves are a view: no lack of space for them may stop a run."""

from __future__ import annotations

import errno
from pathlib import Path
from typing import Any, NoReturn

import pytest

from tuner.records import VALIDATION, Evaluation
from tuner.training.monitor import Monitor


def test_full_disk_costs_points_in_tensorboard_and_never_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any, **__: Any) -> NoReturn:
        raise OSError(errno.ENOSPC, "No space left on device")

    run: Any = None
    monitor = Monitor(run, tmp_path, log_every_steps=1)
    writer = monitor._writer
    assert writer is not None
    with monkeypatch.context() as disk:
        disk.setattr(writer, "add_scalar", full)
        monitor.after_evaluation([Evaluation(1, VALIDATION, "loss", 1.0)])
        disk.setattr(monitor, "_opened", full)
        monitor.after_evaluation([Evaluation(2, VALIDATION, "loss", 1.0)])
    writer.close()
    monitor.after_evaluation([Evaluation(3, VALIDATION, "loss", 1.0)])
    monitor.close()
    assert len(list(tmp_path.iterdir())) == 2
