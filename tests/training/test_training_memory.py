"""The real allocator's refusal, in a process with little memory."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import tuner

HERE = Path(__file__).parent


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="limits on a process' memory are Linux's")
def test_the_cpus_allocator_is_heard_and_a_smaller_micro_batch_fits() -> None:
    path = os.pathsep.join([str(Path(tuner.__file__).parents[1]), str(HERE)])
    done = subprocess.run(
        [sys.executable, str(HERE / "training_memory_child.py")],
        env={**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    told, fits = done.stdout.splitlines()
    assert told.startswith("update 8 out of memory in an update (")
    assert "can't allocate memory" in told
    assert fits == "fits 1", done.stderr
