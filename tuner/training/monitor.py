"""TensorBoard scalars of one run.

The one rule: numbers leave the device once per logging interval, and watching a run changes nothing in it.
"""

from __future__ import annotations

import math
import resource
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from tuner.errors import is_disk_full
from tuner.records import UPDATES, Evaluation
from tuner.training.run import TrainingRun

if TYPE_CHECKING:
    from torch.utils.tensorboard.writer import SummaryWriter


class Monitor:
    """Writes the scalars of a run that starts, or goes on, at `from_step`.

    What an earlier life of the run logged beyond `from_step` is purged from the curves.
    """

    def __init__(self, run: TrainingRun, log_dir: Path, *, log_every_steps: int, from_step: int = 0) -> None:
        self._log_dir = log_dir
        self._writer: SummaryWriter | None = None
        with self._forgiving():
            self._writer = self._opened(purge_step=from_step + 1)
        self._run = run
        self._log_every_steps = log_every_steps
        self._step = from_step
        self._seconds = self._loss_total = 0.0
        self._num_targets = 0

    def after_update(self) -> None:
        """Log training scalars if an interval ended with this update."""
        if self._run.global_step % self._log_every_steps == 0:
            self._log()

    def after_evaluation(self, evaluations: Iterable[Evaluation]) -> None:
        """Log every metric as `eval_<split>/<metric>`; those of the updates as `updates/<metric>`."""
        for evaluation in evaluations:
            folder = UPDATES if evaluation.split == UPDATES else f"eval_{evaluation.split}"
            self._add(f"{folder}/{evaluation.metric}", evaluation.value, evaluation.global_step)

    def close(self) -> None:
        """Write what is buffered."""
        with self._forgiving():
            if self._writer is not None:
                self._writer.close()

    def _log(self) -> None:
        run, step = self._run, self._run.global_step
        num_updates = step - self._step
        if num_updates < 1:
            return
        loss_total = float(run.loss_total)
        loss = (loss_total - self._loss_total) / num_updates
        seconds = run.seconds["train"] - self._seconds
        self._add("train/loss", loss, step)
        self._add("train/perplexity", math.exp(min(loss, 700.0)), step)
        self._add("train/learning_rate", run.learning_rate, step)
        self._add("train/grad_norm_unclipped", float(run.grad_norm()), step)
        self._add("memory/resident_bytes", resident_bytes(), step)
        if seconds > 0:
            self._add("speed/targets_per_second", (run.num_targets_seen - self._num_targets) / seconds, step)
            self._add("speed/examples_per_second", num_updates * run.spec.global_batch_size / seconds, step)
        self._step, self._loss_total = step, loss_total
        self._seconds, self._num_targets = run.seconds["train"], run.num_targets_seen

    def _add(self, tag: str, value: float, step: int) -> None:
        with self._forgiving():
            self._writer = self._writer or self._opened()
            self._writer.add_scalar(tag, value, step)

    def _opened(self, *, purge_step: int | None = None) -> SummaryWriter:
        # Imported here: it takes a second that runs without a monitor need not spend.
        from torch.utils.tensorboard.writer import SummaryWriter

        return SummaryWriter(str(self._log_dir), purge_step=purge_step)

    @contextmanager
    def _forgiving(self) -> Iterator[None]:
        """A full disk costs points in TensorBoard, which a new file goes on with; the run loses nothing."""
        try:
            yield
        except OSError as error:
            if not is_disk_full(error):
                raise
            self._writer = None


def resident_bytes() -> int:
    """Memory of this process; its peak where the system does not tell the present value."""
    try:
        return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()
    except (OSError, IndexError, ValueError):
        unit = 1 if sys.platform == "darwin" else 1024
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
