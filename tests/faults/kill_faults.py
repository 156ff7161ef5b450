"""Processes that are killed: all of a study's at once, one worker, or the planner alone.

The one rule: where a kill falls is a share of all that the study writes, chosen by the seed, so that kills hit each
part of a run on slow and fast machines alike.
"""

from __future__ import annotations

import os
import random
import signal
import time
from pathlib import Path

from campaign import Campaign
from lives import Life
from study_rows import held_trials, rework
from toy_study import CHECKPOINT_EVERY_STEPS, LONG, SHORT, ToyStudy, kill_group, reference_of, require_same

NUM_WORKERS = 2
ORPHANS_LEAVE_WITHIN_SECONDS = 300.0
"""They end themselves after 20 (`worker.LEAVE_SECONDS`), whatever they do; the rest is for slow machines."""
LONG_EVERY = 10
"""One seed of so many does all that the protocol does; the others do a short study."""


def kill_the_group(seed: int, folder: Path) -> None:
    """kill -9 of planner and workers at a random moment, sometimes again during the resume; then on to the end."""
    chance = random.Random(f"group {seed}")
    text = LONG if seed % LONG_EVERY == 0 else SHORT
    study, reference = ToyStudy(folder, text), reference_of(text)
    total = reference.num_writes()
    num_kills = 0
    for share in sorted(chance.random() for _ in range(chance.choice((1, 1, 2)))):
        life = study.start("--workers", str(NUM_WORKERS))
        study.wait_for_writes(life, int(share * total))
        # Then some time more or less, so that kills do not only follow commits.
        time.sleep(chance.random() * 0.05)
        num_kills += life.poll() is None
        kill_group(life)
    study.finish("--workers", str(NUM_WORKERS))
    require_same(study, reference)
    assert rework(study.home) <= num_kills * NUM_WORKERS * CHECKPOINT_EVERY_STEPS


def kill_one(seed: int, folder: Path) -> None:
    """One of four workers, or the planner alone, in turn by seed."""
    if seed % 2:
        kill_the_planner(seed, folder)
    else:
        kill_a_worker(seed, folder)


def kill_a_worker(seed: int, folder: Path) -> None:
    """kill -9 of one of four workers: the planner goes on with another in its place."""
    chance = random.Random(f"worker {seed}")
    study, reference = ToyStudy(folder), reference_of()
    life = study.start("--workers", "4")
    study.wait_for_writes(life, int(chance.random() * reference.num_writes()))
    time.sleep(chance.random() * 0.05)
    pids = [held.pid for held in held_trials(study.home)]
    num_kills = 0
    if pids and life.poll() is None:
        kill(chance.choice(pids))
        num_kills = 1
    said, _ = life.communicate()
    assert life.returncode == 0, said
    require_same(study, reference)
    assert rework(study.home) <= num_kills * CHECKPOINT_EVERY_STEPS


def kill_the_planner(seed: int, folder: Path) -> None:
    """kill -9 of the planner: its workers save and leave by themselves, and nothing is trained again."""
    chance = random.Random(f"planner {seed}")
    study, reference = ToyStudy(folder), reference_of()
    life = study.start("--workers", "4")
    study.wait_for_writes(life, int(chance.random() * reference.num_writes()))
    time.sleep(chance.random() * 0.05)
    kill(life.pid)
    life.wait()
    wait_until_gone(life)
    study.finish("--workers", "4")
    require_same(study, reference)
    # Orphans are not killed: they save where they are.
    assert rework(study.home) == 0


def kill(pid: int) -> None:
    """kill -9, unless it has left by itself in the same moment."""
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return


def wait_until_gone(life: Life) -> None:
    """Until no process of a life's group is left."""
    deadline = time.monotonic() + ORPHANS_LEAVE_WITHIN_SECONDS
    while time.monotonic() < deadline:
        try:
            os.killpg(life.pid, 0)
        except ProcessLookupError:
            return
        life.poll()
        time.sleep(0.01)
    os.killpg(life.pid, signal.SIGKILL)
    raise AssertionError("orphaned workers did not leave")


CAMPAIGNS = (
    Campaign(
        name="group-killed",
        promise="equal to the undisturbed study; at most a checkpoint interval per worker trained again",
        num_ci=11,
        num_full=300,
        run=kill_the_group,
    ),
    Campaign(
        name="worker-or-planner-killed",
        promise="equal to the undisturbed study; orphaned workers save and leave",
        num_ci=6,
        num_full=200,
        run=kill_one,
    ),
)
