"""Every failpoint fails: the study goes on after each, and ends as if nothing had been.

Several faults are done to one study, each once: they are asked for together, and the study is run again until it ends.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from itertools import product
from pathlib import Path
from typing import Final

from campaign import Campaign
from lives import Life
from nursery import run_tuner
from toy_study import ToyStudy, kill_group, reference_of, require_same

from tuner.failpoints import NAMES, ONCE_VARIABLE, VARIABLE

SMALL: Final = """\
study: toy
seed: 7
workload: {kind: python, class: "numpy_trainer:Toy"}
training: {optimizer: sgd, momentum: 0.5, warmup_steps: 3}
evaluation: {metric: loss, every_steps: 12}
budget: {first_guess_steps: 60, max_steps: 240, perfect_fit: {metric: loss, at_most: 0.064}}
budget_sweep: {learning_rates: {low: 0.1, high: 1.8, num_rates: 3}, max_widenings: 0}
search_space: {learning_rate: {low: 0.04, high: 0.14, scale: log}}
round_1: {num_trials: 2, adjust: none, decay_shares: [], widen_at_edge: false}
rounds:
  - {num_trials: 1, num_seeds: 2, budget_multiple: 2, lower_rate_twin: false}
execution: {checkpoint_every_steps: 10, device: cpu}
"""
"""A study of seven trials with pauses, forks, deleted checkpoints and a test score."""

OF_OTHERS: Final = ("cache", "report", "export", "repair", "collect_garbage", "extend")
"""Places that no study passes: the faults are done to the one command or file that passes them."""

POINTS: Final = tuple(name for name in NAMES if name.partition(".")[0] not in OF_OTHERS)

FIRST: Final = {
    "fail_trial.before": "record_evaluation.before:4:raise",
    "fail_trial.after": "record_evaluation.after:4:raise",
    "note_death.before": "record_evaluation.before:5:kill",
    "note_death.after": "record_evaluation.after:5:kill",
    "release_trial.before": "add_checkpoint.after:4:enospc",
    "release_trial.after": "record_evaluation.after:6:enospc",
}
"""What must go wrong before a study passes these; at hits that nothing else is asked for at."""

ONCE_IN_A_RUN: Final = (
    *("upgrade", "create_study", "acquire_planner", "update_config", "set_state", "record_test_value"),
    *("release_planner", "fail_trial", "note_death", "release_trial", "record_idle", "mirror_study"),
)

IN_WORKERS: Final = (
    *("claim", "renew_trial", "release_trial", "begin_attempt", "record_evaluation", "add_checkpoint", "pause_trial"),
    *("end_trial", "fail_trial", "record_idle", "blob", "unlink"),
)
MAX_DEATHS: Final = 2
"""Three in a row without a checkpoint would end a trial as crashed, as it should (D6)."""


def suffer(study: ToyStudy, faults: Sequence[str]) -> set[str]:
    """Run a study, again and again, until it has ended in spite of these faults; those that happened."""
    happened = study.folder / "happened"
    happened.mkdir(exist_ok=True)
    for _ in range(2 * len(faults) + 2):
        exit_code, said = run(study, **{VARIABLE: ",".join(faults), ONCE_VARIABLE: str(happened)})
        if exit_code == 0:
            return {path.name for path in happened.iterdir()}
        asked = {fault.rpartition(":")[2] for fault in faults}
        assert exit_code in (-9, 1, 75), f"exit {exit_code}\n{said}"
        if asked == {"enospc"}:
            assert exit_code == 75, f"exit {exit_code}\n{said}"
            assert "Traceback" not in said, said
    raise AssertionError(f"does not end:\n{said}")


def run(
    study: ToyStudy, *, entry: str = "failpoint_faults:hurried", first: tuple[str, ...] = (), **environment: str
) -> tuple[int, str]:
    """`tuner run` of a study in a process group of its own; its exit code and what it said."""
    arguments = [*first, "run", str(study.yaml), "--home", str(study.home), "--workers", "1"]
    life = Life(arguments, folder=study.folder, environment=environment, entry=entry)
    said, _ = life.communicate()
    kill_group(life)  # Orphans of a planner that was killed.
    assert life.returncode is not None
    return life.returncode, said


def hurried(*arguments: str) -> None:
    """`tuner` with heartbeats almost without a pause, and little patience."""
    from tuner.storage import database, patience
    from tuner.trials import heartbeat

    heartbeat.RENEW_EVERY_SECONDS, database.BUSY_SECONDS = 0.02, 1
    patience.PATIENCE_SECONDS, patience.PAUSE_SECONDS = 0.5, 0.05
    run_tuner(list(arguments))


def endure(faults: Sequence[str], folder: Path) -> None:
    """A study under these faults is the study without any.

    Raises:
        AssertionError: if it is not, or if one of them never happened.
    """
    study = ToyStudy(folder, SMALL)
    happened = suffer(study, [*filter(None, map(before, faults)), *faults])
    missed = [fault for fault in faults if fault.replace(":", ".") not in happened]
    require_same(study, reference_of(SMALL))
    # Another fault may have come between what leads to one and the one itself: it has a study to itself.
    assert not missed or len(missed) < len(faults), f"never happened: {missed}"
    for number, fault in enumerate(missed):
        endure([fault], folder / f"alone-{number}")


def before(fault: str) -> str:
    """What must go wrong before this one can; empty for most."""
    return FIRST.get(fault.partition(":")[0], "")


def groups() -> list[list[str]]:
    """Every point, hit and action once: first all that kill at the first hit, which is what the tests do."""
    found = []
    for hit, action in product((1, 2, 3), ("killgroup", "enospc", "kill", "raise")):
        points = [point for point in POINTS if hit == 1 or point.partition(".")[0] not in ONCE_IN_A_RUN]
        random.Random(f"{hit} {action}").shuffle(points)
        faults = [f"{point}:{hit}:{action}" for point in points]
        found += split(faults, deadly=MAX_DEATHS if action in ("kill", "raise") else len(faults))
    return found


def split(faults: list[str], *, deadly: int, size: int = 14) -> list[list[str]]:
    """In groups of at most `size`, of which at most `deadly` meet a worker."""
    made: list[list[str]] = []
    for fault in faults:
        counts = is_in_worker(fault)
        fits = (g for g in made if len(g) < size and (not counts or sum(map(is_in_worker, g)) < deadly))
        group = next(fits, None)
        if group is None:
            made.append([fault])
        else:
            group.append(fault)
    return made


def is_in_worker(fault: str) -> bool:
    return fault.partition(".")[0] in IN_WORKERS or bool(before(fault))


WHOLE: Final = b"whole" * 1000


def single(seed: int, folder: Path) -> None:
    """The faults of one group, each once."""
    endure(groups()[seed], folder)


def pair(seed: int, folder: Path) -> None:
    """Two faults in an order: the second can happen only after the first."""
    draw = random.Random(seed)
    for number in (1, 2):
        action = draw.choice(("kill", "killgroup", "raise", "enospc"))
        fault = f"{draw.choice(POINTS)}:{draw.randint(1, 3)}:{action}"
        suffer_once(ToyStudy(folder, SMALL), fault, name=f"happened-{number}")
    study = ToyStudy(folder, SMALL)
    suffer(study, [])
    require_same(study, reference_of(SMALL))


def suffer_once(study: ToyStudy, fault: str, *, name: str) -> None:
    """One run of a study under one fault."""
    happened = study.folder / name
    happened.mkdir()
    run(study, **{VARIABLE: ",".join(filter(None, (before(fault), fault))), ONCE_VARIABLE: str(happened)})


def make(kind: str, folder: str) -> None:
    """What passes the failpoints of files that no study writes: a report's file, an exported folder, tokens."""
    import numpy as np

    from tuner.cli.new_folder import new_folder
    from tuner.report.files import write_atomically
    from tuner.workloads.text import _write

    target = Path(folder) / kind
    if kind == "report":
        write_atomically(target / "whole", WHOLE)
    elif kind == "export":
        with new_folder(target) as beside:
            (beside / "whole").write_bytes(WHOLE)
    else:
        _write({"train_sample": np.arange(10, dtype=np.uint16)}, WHOLE, target=target)


NUM_CI = len([group for group in groups() if group[0].endswith(":1:killgroup")])

CAMPAIGNS = (
    Campaign(
        name="failpoints",
        promise="every place x hits 1-3 x action: ends as undisturbed, nothing lost or doubled",
        num_ci=NUM_CI,
        num_full=len(groups()),
        run=single,
    ),
    Campaign(
        name="failpoint-pairs",
        promise="two faults after one another: ends as undisturbed, nothing lost or doubled",
        num_ci=0,
        num_full=100,
        run=pair,
    ),
)
