"""Whole studies of the NumPy trainer in process groups of their own: started, disturbed, resumed, and compared.

The one rule: planner, engine, mirror, store and claims are the real ones, and whatever is done to a study, in the end
it must be, row by row, the study that was never disturbed and shared nothing.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import shutil
import signal
import tempfile
import time
from importlib.util import find_spec
from pathlib import Path
from typing import Final

from lives import Life
from study_rows import Rows, count_writes, read_rows, require_sound

HERE = Path(__file__).parent
ROOT = HERE.parents[1]

SHORT: Final = """\
study: toy
seed: 7
workload: {kind: python, class: "numpy_trainer:Toy"}
training: {optimizer: sgd, momentum: 0.5, warmup_steps: 3}
evaluation: {metric: loss, every_steps: 24}
budget: {first_guess_steps: 60, max_steps: 240, perfect_fit: {metric: loss, at_most: 0.064}}
budget_sweep: {learning_rates: {low: 0.1, high: 1.8, num_rates: 3}, max_widenings: 0}
search_space: {learning_rate: {low: 0.04, high: 0.14, scale: log}}
round_1: {num_trials: 4, adjust: none, decay_shares: [], widen_at_edge: false}
rounds:
  - {num_trials: 4, num_seeds: 1, budget_multiple: 2, lower_rate_twin: false}
  - {num_trials: 1, num_seeds: 2, budget_multiple: 1, lower_rate_twin: false}
execution: {checkpoint_every_steps: 20, device: cpu}
"""
"""12 trials or so of about 60 steps, half of which go on from another's; few evaluations, so that it takes seconds."""

LONG: Final = """\
study: toy
seed: 7
workload: {kind: python, class: "numpy_trainer:Toy"}
training: {optimizer: sgd, momentum: 0.5, warmup_steps: 3}
evaluation: {metric: loss, every_steps: 3}
budget: {first_guess_steps: 60, max_steps: 240, perfect_fit: {metric: loss, at_most: 0.064}}
budget_sweep: {learning_rates: {low: 0.1, high: 1.8, num_rates: 3}, max_widenings: 0}
search_space: {learning_rate: {low: 0.04, high: 0.14, scale: log}}
round_1: {num_trials: 5, adjust: raw, max_adjustments: 1, decay_shares: [0.4], widen_at_edge: false}
round_2: {num_trials: 1, num_seeds: 2, budget_multiple: 1, lower_rate_twin: false}
execution: {checkpoint_every_steps: 20, device: cpu}
"""
"""All that the protocol does: a second rung of the sweep, a doubled budget, decays re-tuned, seeds."""

CHECKPOINT_EVERY_STEPS: Final = 20


class ToyStudy:
    """A folder with one study and everything that running it makes."""

    def __init__(self, folder: Path, text: str = SHORT) -> None:
        self.folder, self.home = folder, folder / "runs"
        folder.mkdir(parents=True, exist_ok=True)
        self.yaml = folder / "toy.yaml"
        self.yaml.write_text(text)

    def start(self, *options: str, **environment: str) -> Life:
        """Run the study, or go on with it, in a process group of its own."""
        arguments = ["run", str(self.yaml), "--home", str(self.home), *options]
        return Life(arguments, folder=self.folder, environment=environment)

    def finish(self, *options: str) -> str:
        """Run the study, or go on with it, to its end; what it said."""
        process = self.start(*options)
        said, _ = process.communicate()
        assert process.returncode == 0, f"exit {process.returncode}\n{said}"
        return said

    def rows(self) -> Rows:
        """What the database holds."""
        return read_rows(self.home / "tuner.db")

    def num_writes(self) -> int:
        """Evaluations and checkpoints committed so far: a clock that runs with the study, not with the machine."""
        return count_writes(self.home / "tuner.db")

    def wait_for_writes(self, process: Life, count: int) -> bool:
        """Until so many are committed; False if the process ended before."""
        while process.poll() is None:
            if self.num_writes() >= count:
                return True
            time.sleep(0.03)
        return False


def kill_group(process: Life) -> None:
    """kill -9 of the planner and all its workers at once; also of orphans that a dead planner left."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def require_same(study: ToyStudy, reference: ToyStudy) -> None:
    """Nothing lost, nothing doubled, every number as in the undisturbed study without sharing.

    Raises:
        AssertionError: if a promise was broken.
    """
    require_sound(study.home, every=CHECKPOINT_EVERY_STEPS)
    require_verified(study)
    found, expected = study.rows(), reference.rows()
    assert found.trials == expected.trials
    assert found.evaluations == expected.evaluations
    assert found.decisions == expected.decisions
    assert found.answer == expected.answer


def require_verified(study: ToyStudy) -> None:
    """`tuner verify` finds nothing."""
    if find_spec("tuner.cli.verify") is None:
        return
    verify = Life(["verify", "toy", "--home", str(study.home)], folder=study.folder)
    said, _ = verify.communicate()
    assert verify.returncode == 0, said


def reference_of(text: str = SHORT) -> ToyStudy:
    """The same study undisturbed, by one worker, without sharing: made once, for every process of this machine.

    Kept in the folder for temporary files under a name that holds a digest of all the code.
    """
    place = Path(tempfile.gettempdir()) / f"tuner-toy-{digest_of_code(text)}"
    with place.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not place.exists():
            made = Path(tempfile.mkdtemp(prefix="tuner-toy-"))
            ToyStudy(made, text).finish("--workers", "1", "--no-sharing")
            made.rename(place)
    return ToyStudy(place, text)


def digest_of_code(text: str) -> str:
    """Names the package, these tests and a text."""
    digest = hashlib.sha256(text.encode())
    for file in sorted([*(ROOT / "tuner").rglob("*.py"), *HERE.glob("*.py")]):
        digest.update(file.read_bytes())
    return digest.hexdigest()[:16]


def forget(study: ToyStudy) -> None:
    """Remove a study's files."""
    shutil.rmtree(study.folder, ignore_errors=True)
