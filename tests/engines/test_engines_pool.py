"""Worker processes are replaced when they die, each in the place of the one that it replaces."""

from __future__ import annotations

import multiprocessing
from pathlib import Path
from typing import Any

from tuner.engines.pool import Death, WorkerPool
from tuner.trials.messages import WorkerJob


class NoProcess:
    """Stands for a worker without starting one; `end` closes its side of the pipe, as a death does."""

    pid = 4242
    exitcode = -9

    def __init__(self, args: tuple[Any, WorkerJob], **_: Any) -> None:
        self.connection, self.job = args[0], args[1]

    def start(self) -> None:
        # The pool closes its copy of this side once the process has it.
        self.connection = multiprocessing.connection.Connection(_duplicate(self.connection))

    def end(self) -> None:
        self.connection.close()

    def join(self, timeout: float | None = None) -> None: ...

    def is_alive(self) -> bool:
        return False


def _duplicate(connection: Any) -> int:
    import os

    return os.dup(connection.fileno())


def pool_of(num_workers: int, started: list[NoProcess]) -> WorkerPool:
    job = WorkerJob(study="s", home=Path(), storage_url=None, index=0, share=True, other_numerics=False)
    pool = WorkerPool(job, num_workers)

    class Context:
        Pipe = staticmethod(multiprocessing.Pipe)

        @staticmethod
        def Process(target: Any, args: Any, **rest: Any) -> NoProcess:  # noqa: N802
            started.append(NoProcess(args, **rest))
            return started[-1]

    pool._context = Context()
    return pool


def test_a_worker_that_replaces_a_dead_one_takes_its_number_and_so_its_gpu() -> None:
    started: list[NoProcess] = []
    pool = pool_of(3, started)
    pool.start()
    assert [worker.job.index for worker in started] == [0, 1, 2]
    started[1].end()
    assert pool.messages(1.0) == ([], [Death(4242, "was killed (signal 9)")])
    pool.start()
    assert [worker.job.index for worker in started] == [0, 1, 2, 1]
    pool.kill()
