"""One planner at a time, and one clock: the database's (D4)."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest
from storage_cases import ELSEWHERE, FakeWorker, execute, make_spec, open_study

import tuner.storage
from tuner.storage.store import Store

RACER = """
import sys
from pathlib import Path
from tuner.errors import StudyError
from tuner.storage.store import Owner, Store
store = Store.open(sys.argv[2] or None, Path(sys.argv[1]), create=False)
print("ready", flush=True)
sys.stdin.readline()
try:
    print("planner", store.acquire_planner("x", Owner.of_this_process("planner")).epoch, flush=True)
except StudyError as error:
    print("refused", error, flush=True)
sys.stdin.read()
"""


@pytest.mark.slow
def test_of_eight_processes_that_run_a_study_at_once_exactly_one_is_its_planner(
    store: Store, storage_url: str | None, home: Path
) -> None:
    store.release(open_study(store, [make_spec()]))
    racers = [
        subprocess.Popen(
            [sys.executable, "-c", RACER, str(home), storage_url or ""],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(8)
    ]
    try:
        assert [racer.stdout.readline() for racer in racers if racer.stdout] == ["ready\n"] * 8
        for racer in racers:
            assert racer.stdin is not None
            racer.stdin.write("go\n")
            racer.stdin.flush()
        said = [racer.stdout.readline() for racer in racers if racer.stdout]
    finally:
        for racer in racers:
            racer.communicate()
    (winner,) = [racer for racer, line in zip(racers, said, strict=True) if line == "planner 2\n"]
    refused = [line for line in said if line.startswith("refused study 'x' is being run by pid")]
    assert len(refused) == 7
    assert all(f"pid {winner.pid} " in line for line in refused)


def test_worker_whose_own_clock_is_wrong_by_hours_changes_nothing(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    open_study(store, [make_spec(), make_spec(rate=2e-3)])
    FakeWorker.next(store, owner=ELSEWHERE)
    right = time.time
    for hours in (-12, 12):
        monkeypatch.setattr(time, "time", lambda hours=hours: right() + 3600 * hours)
        late = FakeWorker.next(store)
        assert late.trial == 2, "a lease of another is neither expired early nor forgotten"
        store.renew(late.lease)
        (expires,) = execute(store, "SELECT lease_expires FROM tuner_trials WHERE id = 2")[0]
        assert abs(expires - right()) < 3600
        store.release(late.lease)


def test_storage_tells_no_lease_by_the_clock_of_its_own_process() -> None:
    folder = Path(tuner.storage.__file__).parent
    for module in ("leases", "claims", "attempts", "starts", "endings", "moves", "clock", "owners"):
        source = (folder / f"{module}.py").read_text()
        assert "\nimport time" not in source, module
        assert "datetime.now" not in source, module
