"""Makes `released/<schema>.db`, once for each schema, with the release that brings it; then commit the file.

A file made later would prove nothing: the point is that what an older release wrote still opens.
"""

from __future__ import annotations

import shutil
import sqlite3
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

from storage_cases import ME, FakeWorker, make_spec, open_study

from tuner.records import AddTrials, Decision
from tuner.storage.idle import record_idle
from tuner.storage.store import Store

ANYONE = replace(ME, host_boot_id="boot", hostname="host", pid=1, process_started="1")


def main(schema: str) -> None:
    target = Path(__file__).parent / "released" / f"{schema}.db"
    if target.exists():
        sys.exit(f"{target.name} exists already; it stays as its release wrote it")
    with tempfile.TemporaryDirectory() as folder:
        store = Store.open(None, Path(folder))
        lease = open_study(store, [make_spec(), make_spec(rate=2e-3)], name="released", owner=ANYONE)
        FakeWorker.next(store, name="released", owner=ANYONE).begin().train(100, checkpoints=[100]).end()
        decision = Decision(kind="round_opened", reason="two points", phase="round_1", numbers={"num_trials": 2})
        store.apply(lease, AddTrials(phase="round_1", trials=(), decisions=(decision,)))
        record_idle(store.database, "released", ANYONE, seconds=1.5)
        store.release(lease)
        with sqlite3.connect(Path(folder) / "tuner.db") as connection:
            connection.execute("VACUUM")
        shutil.copy(Path(folder) / "tuner.db", target)


if __name__ == "__main__":
    main(*sys.argv[1:])
