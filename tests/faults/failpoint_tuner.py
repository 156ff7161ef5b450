"""`tuner` with workers that train the toy, heartbeats without a pause, and little patience: every failpoint is passed.

python failpoint_tuner.py run toy.yaml --home runs
"""

from __future__ import annotations

from functools import partial
from multiprocessing.connection import Connection

from tuner.storage import patience
from tuner.trials import heartbeat
from tuner.trials.messages import WorkerJob


def hurry() -> None:
    """Shorten the times of this process."""
    heartbeat.RENEW_EVERY_SECONDS = 0.2
    patience.PATIENCE_SECONDS, patience.PAUSE_SECONDS = 0.5, 0.05


def enter_hurried_worker(connection: Connection, job: WorkerJob) -> None:
    """What a worker process does."""
    from numpy_trainer import enter_toy_worker

    hurry()
    enter_toy_worker(connection, job)


if __name__ == "__main__":
    # Guarded: a spawned worker imports this file, too.
    import sys

    from tuner.cli.main import main
    from tuner.engines import pool

    hurry()
    pool.WorkerPool = partial(pool.WorkerPool, enter=enter_hurried_worker)  # type: ignore[assignment,misc]
    sys.exit(main())
