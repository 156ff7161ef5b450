"""Worker processes on this machine: started by spawn, told by pipes, replaced when they die, never left behind."""

from __future__ import annotations

import contextlib
import multiprocessing
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess

from tuner.engines.memory_kills import num_memory_kills
from tuner.trials.messages import FromWorker, Stop, ToWorker, WorkerJob

STOP_SECONDS = 6.0
"""A worker that was told to stop saves and leaves within this time, or is terminated."""


def enter_worker(connection: Connection, job: WorkerJob) -> None:
    """What a worker process does."""
    # Imported by the worker alone: the planner needs no torch.
    from tuner.trials.torch_bench import torch_bench
    from tuner.trials.worker import work

    work(connection, job, torch_bench)


@dataclass(frozen=True, slots=True)
class Death:
    """A worker that died: its process id, and how, as the end of a sentence about it."""

    pid: int
    how: str


class WorkerPool:
    """`num_workers` processes working on one study; each does `enter`."""

    def __init__(
        self, job: WorkerJob, num_workers: int, *, enter: Callable[[Connection, WorkerJob], None] = enter_worker
    ) -> None:
        self._context = multiprocessing.get_context("spawn")
        self._job, self._enter = job, enter
        self._workers: dict[Connection, SpawnProcess] = {}
        self._indices: dict[Connection, int] = {}
        self._ready: set[Connection] = set()
        self._memory_kills: dict[Connection, int | None] = {}
        self.is_hurried = False
        self.num_workers = num_workers

    def start(self) -> None:
        """Start workers until there are `num_workers`."""
        while len(self._workers) < self.num_workers:
            ours, theirs = self._context.Pipe()
            job = replace(self._job, index=self._free_index())
            process = self._context.Process(
                target=self._enter, args=(theirs, job), name=f"tuner-worker-{job.index}", daemon=True
            )
            with _ignored(signal.SIGINT), _ignored(signal.SIGHUP):
                process.start()
            theirs.close()
            self._workers[ours], self._indices[ours] = process, job.index
            self._memory_kills[ours] = num_memory_kills()

    def _free_index(self) -> int:
        """The lowest number that no living worker has: who replaces a dead worker takes its GPU."""
        taken = {self._indices[connection] for connection in self._workers}
        return min(set(range(len(taken) + 1)) - taken)

    def messages(self, timeout: float) -> tuple[list[tuple[Connection, FromWorker]], list[Death]]:
        """What workers said within `timeout` seconds, and the workers that died."""
        heard: list[tuple[Connection, FromWorker]] = []
        died: list[Death] = []
        for connection in wait(list(self._workers), timeout):
            assert isinstance(connection, Connection)
            try:
                while connection.poll():
                    heard.append((connection, connection.recv()))
                    self._ready.add(connection)
            except (EOFError, OSError):
                process = self._workers.pop(connection)
                process.join(STOP_SECONDS)
                connection.close()
                kills_before = self._memory_kills.pop(connection, None)
                died.append(Death(process.pid or 0, how_it_died(process.exitcode, kills_before, num_memory_kills())))
        return heard, died

    def tell(self, message: ToWorker) -> None:
        """Send a message to all workers."""
        for connection in list(self._workers):
            with contextlib.suppress(BrokenPipeError, OSError):
                connection.send(message)

    def tell_any(self, message: ToWorker) -> Connection:
        """Send a message to one worker and say which."""
        connection = next(iter(self._workers))
        with contextlib.suppress(BrokenPipeError, OSError):
            connection.send(message)
        return connection

    def has(self, worker: Connection) -> bool:
        """Whether that worker still lives, as far as known."""
        return worker in self._workers

    def stop(self) -> None:
        """Ask all workers to save and leave; terminate those that do not, and at once those that hold nothing yet.

        `is_hurried`, set by a signal handler, ends the waiting.
        """
        self.tell(Stop())
        deadline = time.monotonic() + STOP_SECONDS
        for connection, process in list(self._workers.items()):
            # Keep reading: a worker must not block on a full pipe while it leaves.
            while process.is_alive() and connection in self._ready and time.monotonic() < deadline:
                if self.is_hurried:
                    break
                with contextlib.suppress(EOFError, OSError):
                    if connection.poll(0.02):
                        connection.recv()
                process.join(0.02)
        self.kill()

    def kill(self) -> None:
        """End all workers now; their leases are broken by whoever comes next."""
        for connection, process in list(self._workers.items()):
            if process.is_alive():
                process.kill()
            process.join()
            connection.close()
        self._workers.clear()


def how_it_died(exit_code: int | None, kills_before: int | None, kills_now: int | None) -> str:
    """What is known of a death; memory only if the kernel counted a kill for it since the worker began.

    >>> how_it_died(-9, 0, 0), how_it_died(-11, 0, 0), how_it_died(1, 0, 0)
    ('was killed (signal 9)', 'was killed (signal 11)', 'ended with exit code 1')
    """
    if exit_code == -signal.SIGKILL and kills_before is not None and kills_now is not None and kills_now > kills_before:
        return "was killed because memory ran out (lower execution.micro_batch_size or execution.workers)"
    if exit_code is None:
        return "died"
    return f"was killed (signal {-exit_code})" if exit_code < 0 else f"ended with exit code {exit_code}"


@contextlib.contextmanager
def _ignored(number: signal.Signals) -> Iterator[None]:
    # An ignored signal stays ignored in the child from its first instruction on: no traceback while it imports.
    before = signal.signal(number, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(number, before)
