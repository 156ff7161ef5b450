"""Many processes that want the same trials, and a worker that stands still until others have taken its trial over.

The one rule: a trial has one owner at a time, and who has lost it writes nothing more.
"""

from __future__ import annotations

import contextlib
import os
import random
import signal
import sqlite3
import sys
import time
from collections import Counter
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import TypeVar

from campaign import Campaign
from lives import ROOT, Life
from nursery import LEASE_VARIABLE
from study_rows import Lost, held_trials, newest_epoch, writes_of
from toy_study import ToyStudy, kill_group, reference_of, require_same

sys.path.append(str(ROOT / "tests/storage"))

R = TypeVar("R")

NUM_RACERS, NUM_TRIALS = 16, 200
LEASE_SECONDS = 1.0
TICKS_FOR_A_WRITE = 5
"""A commit takes about one; a worker that has nothing to do looks for trials and so gets there, too."""

SECONDS_FOR_A_WRITE = 20.0
"""A worker that finds its trial lost and no other one has nothing to work on while the planner stands still."""


def race_for_trials(seed: int, folder: Path) -> None:
    """Sixteen processes claim and end trials as fast as they can: each is claimed once, none is left."""
    from storage_cases import make_spec, open_study

    from tuner.storage.store import Store

    store = Store.open(None, folder)
    try:
        open_study(store, [make_spec(10, rate=1e-3 * (1 + number)) for number in range(NUM_TRIALS)])
        racers = [
            Life([str(folder), str(seed), str(number)], folder=folder, entry="lease_faults:race")
            for number in range(NUM_RACERS)
        ]
        (folder / "go").touch()
        for racer in racers:
            said, _ = racer.communicate()
            assert racer.returncode == 0, said
        claimed = Counter(line for file in folder.glob("claimed-*") for line in file.read_text().split())
        assert set(claimed.values()) == {1}, f"claimed more than once: {claimed.most_common(5)}"
        trials = store.load("x", with_curves=False).trials()
        assert sorted(map(int, claimed)) == sorted(trial.trial for trial in trials)
        assert all(trial.state == "ended" for trial in trials)
    finally:
        store.close()


def race(folder: str, seed: str, number: str) -> None:
    """One of the processes: notes what it claimed before it ends it."""
    from storage_cases import FakeWorker

    from tuner.storage.store import Owner, Store

    store, owner, chance = Store.open(None, Path(folder), create=False), Owner.of_this_process(number), random.Random()
    chance.seed(f"{seed} {number}")
    while not (Path(folder) / "go").exists():
        time.sleep(0.01)
    with (Path(folder) / f"claimed-{number}").open("w", buffering=1) as notes:
        while (claim := patiently(lambda: store.claim("x", owner))) is not None:
            notes.write(f"{claim.trial.trial}\n")
            time.sleep(chance.random() * 0.002)
            worker = FakeWorker(store, claim)
            patiently(worker.begin)
            patiently(worker.end)
    store.close()


def patiently(do: Callable[[], R]) -> R:
    """SQLite is not fair: among sixteen that never pause, one may have to wait for longer than a worker does."""
    from tuner.errors import TryAgainLater

    while True:
        with contextlib.suppress(TryAgainLater):
            return do()


def stop_a_worker(seed: int, folder: Path) -> None:
    """A worker stands still for three leases while another takes its trial over; then it goes on, and must not write.

    The planner stands still, too, so that the study is not over before the lost worker wakes up.
    """
    chance = random.Random(f"stopped {seed}")
    study, reference = ToyStudy(folder), reference_of()
    life = study.start("--workers", "3", **{LEASE_VARIABLE: str(LEASE_SECONDS)})
    try:
        study.wait_for_writes(life, int(chance.uniform(0.02, 0.8) * reference.num_writes()))
        lost = stop_an_owner(study, life, chance)
        if lost is not None:
            deadline = time.monotonic() + 3 * LEASE_SECONDS
            taken_over = wait_for_another_owner(study, life, lost)
            if taken_over and stop(life.pid, study.home):
                before = writes_of(study.home, lost)
                time.sleep(max(0.0, deadline - time.monotonic()))
                wake(lost.pid)
                assert not writes_of(study.home, lost).has_grown_since(before), "a late write was accepted"
                os.kill(life.pid, signal.SIGCONT)
                said, _ = life.communicate()
                assert life.returncode == 0, said
                assert not writes_of(study.home, lost).has_grown_since(before), "a late write was accepted"
    finally:
        kill_group(life)
    study.finish("--workers", "3")
    require_same(study, reference)


def stop_an_owner(study: ToyStudy, life: Life, chance: random.Random) -> Lost | None:
    """Stop a worker that holds a trial; None if the study ends first."""
    while life.poll() is None:
        held = held_trials(study.home)
        if not held:
            time.sleep(0.01)
            continue
        chosen = chance.choice(held)
        if stop(chosen.pid, study.home):
            if chosen in held_trials(study.home):
                return chosen
            os.kill(chosen.pid, signal.SIGCONT)
    return None


def stop(pid: int, home: Path) -> bool:
    """Stop a process while it does not hold the database's lock, which nobody else could break; False if it is gone."""
    while True:
        try:
            os.kill(pid, signal.SIGSTOP)
        except ProcessLookupError:
            return False
        if is_writable(home / "tuner.db"):
            return True
        os.kill(pid, signal.SIGCONT)
        time.sleep(0.01)


def wake(pid: int) -> None:
    """Let a stopped process go on, and wait until it has worked for long enough to write, or had the time to."""
    before, deadline = cpu_ticks(pid), time.monotonic() + SECONDS_FOR_A_WRITE
    os.kill(pid, signal.SIGCONT)
    while (ticks := cpu_ticks(pid)) is not None and before is not None and ticks < before + TICKS_FOR_A_WRITE:
        if time.monotonic() > deadline:
            return
        time.sleep(0.01)


def cpu_ticks(pid: int) -> int | None:
    """Hundredths of a second that a process has worked; None if it is gone."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return None if fields[0] in "ZX" else int(fields[11]) + int(fields[12])


def is_writable(database: Path) -> bool:
    """Whether somebody can commit within a moment: a reader that was stopped in the middle holds up the next writer,
    and that one all readers."""
    with closing(sqlite3.connect(database, timeout=1.0, isolation_level=None)) as connection:
        try:
            connection.execute("begin exclusive")
            connection.execute("rollback")
        except sqlite3.OperationalError:
            return False
    return True


def wait_for_another_owner(study: ToyStudy, life: Life, lost: Lost) -> bool:
    """Until somebody else began the trial anew; False if the study ends first."""
    while life.poll() is None:
        if newest_epoch(study.home, lost.trial) > lost.epoch:
            return True
        time.sleep(0.02)
    return False


CAMPAIGNS = (
    Campaign(
        name="claim-race",
        promise="200 trials, each claimed by exactly one of 16 processes",
        num_ci=1,
        num_full=50,
        run=race_for_trials,
    ),
    Campaign(
        name="worker-stopped",
        promise="no late write accepted; equal to the undisturbed study",
        num_ci=1,
        num_full=50,
        run=stop_a_worker,
    ),
)
