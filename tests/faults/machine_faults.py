"""Campaign: random sequences of everything that may happen to a study, by a Hypothesis state machine.

One seed is a batch of ten examples; a failing one is printed as the rules that lead to it, not shrunk: that takes long.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path

from campaign import Campaign
from hypothesis import HealthCheck, Phase, seed, settings
from hypothesis.stateful import run_state_machine_as_test
from lease_machine import LeaseMachine

from tuner.storage.opening import open_database

NUM_EXAMPLES = 10
NUM_RULES_CI, NUM_RULES = 30, 50


def run_examples(number: int, folder: Path, *, num_rules: int = NUM_RULES) -> None:
    """One batch of examples, decided by its seed."""
    work = in_memory(folder)

    class Machine(LeaseMachine):
        pass

    Machine.folder, Machine.empty = work, empty_database(work)
    chosen = settings(
        max_examples=NUM_EXAMPLES,
        stateful_step_count=num_rules,
        database=None,
        derandomize=False,
        deadline=None,
        phases=(Phase.generate,),
        suppress_health_check=list(HealthCheck),
        print_blob=False,
    )
    try:
        run_state_machine_as_test(seed(number)(Machine), settings=chosen)
    finally:
        shutil.rmtree(work, ignore_errors=True)


def empty_database(folder: Path) -> Path:
    """A SQLite file with our tables: copying it is faster than migrating for each example."""
    home = folder / "empty"
    open_database(None, home, default=home / "tuner.db", create=True).close()
    return home / "tuner.db"


def in_memory(folder: Path) -> Path:
    """A folder in memory where there is such a place: every commit waits for the disk, and there are thousands."""
    ram = Path("/dev/shm")
    return Path(tempfile.mkdtemp(dir=ram)) if os.access(ram, os.W_OK) else folder


CAMPAIGNS = (
    Campaign(
        name="state-machine",
        promise="every invariant after every rule; in the end each trial is the undisturbed run's (10 examples a seed)",
        num_ci=5,
        num_full=50,
        run=run_examples,
    ),
)
