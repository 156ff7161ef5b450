"""The group killed while torch trains: real processes, spawned workers, bits of real models."""

from __future__ import annotations

import fcntl
import json
import random
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

from campaign import Campaign
from toy_study import digest_of_code

sys.path.append(str(Path(__file__).parents[1] / "trials"))

SAME = ("trial", "phase", "number", "params", "outcome", "reason", "max_train_steps", "last_step", "best_step")
SAME += ("first_good_step", "best_value", "last_value", "num_evals", "num_skipped_updates", "weights_digest")
CHECKPOINT_EVERY_STEPS = 20


def kill_the_group(seed: int, folder: Path) -> None:
    """kill -9 of planner and workers at a random moment; resumed, every digest is that of the study without sharing."""
    from study_processes import Home, kill_group

    chance = random.Random(f"torch {seed}")
    expected = reference()
    home = Home(folder)
    process = home.start("run", "tiny.yaml", "--workers", "2")
    was_killed = home.wait_for_evals(process, int(chance.random() * expected["num_evals"]))
    kill_group(process)
    home.tuner("run", "tiny.yaml", "--workers", "2")
    found = measured(home)
    assert found["trials"] == expected["trials"]
    assert found["curves"] == expected["curves"]
    assert found["answer"] == expected["answer"]
    steps = home.json("status", "tiny")["steps"]
    assert steps["executed"] == steps["stage_tree"] + steps["recomputed"] + steps["overshoot"]
    assert 0 <= steps["recomputed"] <= was_killed * 2 * CHECKPOINT_EVERY_STEPS


def measured(home: Any) -> dict[str, Any]:
    """What must be the same, as JSON keeps it."""
    trials = [{key: trial[key] for key in SAME} for trial in home.json("trials", "tiny")]
    answer = home.json("status", "tiny")["answer"]
    found = {"trials": trials, "curves": home.curves(), "answer": answer, "num_evals": home.num_evals()}
    same: dict[str, Any] = json.loads(json.dumps(found))
    return same


def reference() -> dict[str, Any]:
    """The study undisturbed, without sharing; made once for every process of this machine."""
    from study_processes import TINY, TINY_FOLDER, Home

    text = TINY + "".join(file.read_text() for file in sorted(TINY_FOLDER.glob("*.py")))
    place = Path(tempfile.gettempdir()) / f"tuner-torch-{digest_of_code(text)}.json"
    with place.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not place.exists():
            folder = Path(tempfile.mkdtemp(prefix="tuner-torch-"))
            home = Home(folder)
            home.tuner("run", "tiny.yaml", "--workers", "1", "--no-sharing")
            (folder / "measured.json").write_text(json.dumps(measured(home)))
            (folder / "measured.json").rename(place)
            shutil.rmtree(folder)
    made: dict[str, Any] = json.loads(place.read_text())
    return made


CAMPAIGNS = (
    Campaign(
        name="torch-group-killed",
        promise="digests of real models equal to the undisturbed study without sharing",
        num_ci=0,  # tests/trials/test_trials_same_numbers.py kills a study of real models five times.
        num_full=30,
        run=kill_the_group,
    ),
)
