"""`tuner`, with workers that train the toy: planner, engine, mirror, store and command line are the real ones.

python toy_tuner.py run toy.yaml --home runs
"""

from __future__ import annotations

from functools import partial

if __name__ == "__main__":
    # Guarded: a spawned worker imports this file, too, and needs nothing of it.
    import sys

    from numpy_trainer import enter_toy_worker

    from tuner.cli.main import main
    from tuner.engines import pool

    pool.WorkerPool = partial(pool.WorkerPool, enter=enter_toy_worker)  # type: ignore[assignment,misc]
    sys.exit(main())
