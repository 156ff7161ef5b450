"""Starts `tuner` processes, with workers that train the toy, by forks of one process that has imported everything.

A fault is two lives of a study; importing SQLAlchemy and Optuna six times would be most of its cost. The one rule: a
fork is made by a process with one thread and no file of a study open, as multiprocessing's fork server does. Spawned
workers are tested by the studies that train with torch.

    nursery (imports everything, one for a process of tests)
    └── planner (leader of its process group)        └── its helper (forked before a study is opened) ── workers
"""

from __future__ import annotations

import array
import contextlib
import ctypes
import gc
import json
import multiprocessing
import os
import pickle
import select
import signal
import socket
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator
from importlib import import_module
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, NoReturn

PR_SET_CHILD_SUBREAPER = 36
HEADER_BYTES = 8
LEASE_VARIABLE = "TOY_LEASE_SECONDS"
"""Length of leases in a life, for faults that wait until they expire."""


def import_everything() -> None:
    """What planners and workers import in the course of a study; much of it only when a database is opened."""
    import optuna
    import scipy.stats  # noqa: F401
    from numpy_trainer import enter_toy_worker  # noqa: F401

    import tuner.cli.answer
    import tuner.cli.console
    import tuner.cli.main
    import tuner.cli.plain
    import tuner.cli.run
    import tuner.cli.watching
    import tuner.config.changes
    import tuner.config.load
    import tuner.engines.local
    import tuner.report.so_far
    import tuner.storage.bill
    import tuner.trials.adaptive
    import tuner.trials.devices
    import tuner.trials.mirror
    import tuner.trials.planner  # noqa: F401
    from tuner.storage.store import Store

    with tempfile.TemporaryDirectory() as folder:
        store = Store.open(None, Path(folder))
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        mirrored = optuna.storages.RDBStorage(store.url)
        optuna.create_study(storage=mirrored).ask()
        mirrored.remove_session()
        mirrored.engine.dispose()
        store.close()
    gc.collect()
    gc.freeze()


def serve() -> None:
    """Fork a planner for each line of standard input; tell on standard output its number, and later its exit code."""
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    import_everything()
    assert "torch" not in sys.modules
    wakeup, signalled = os.pipe()
    os.set_blocking(signalled, False)
    os.set_blocking(wakeup, False)
    signal.signal(signal.SIGCHLD, lambda number, frame: None)
    signal.set_wakeup_fd(signalled, warn_on_full_buffer=False)
    tell({"ready": os.getpid()})
    living: set[int] = set()
    while True:
        readable, _, _ = select.select([0, wakeup], [], [])
        if wakeup in readable:
            os.read(wakeup, 4096)
        living -= set(bury_children())
        if 0 in readable:
            line = read_line()
            if not line:
                break
            born = fork(lambda line=line: live(**json.loads(line)))
            living.add(born)
            tell({"born": born})
    for pid in living:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(pid, signal.SIGKILL)


def read_line() -> bytes:
    """One line of standard input, no byte more: select must see what follows."""
    line = b""
    while not line.endswith(b"\n"):
        byte = os.read(0, 1)
        if not byte:
            return b""
        line += byte
    return line


def bury_children() -> Iterator[int]:
    """Reap planners and the orphans that they left."""
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return
        if not pid:
            return
        yield pid
        tell({"died": pid, "code": os.waitstatus_to_exitcode(status)})


def tell(message: dict[str, Any]) -> None:
    os.write(1, (json.dumps(message) + "\n").encode())


def fork(do: Callable[[], object]) -> int:
    """The number of a child that does something and leaves."""
    pid = os.fork()
    if pid:
        return pid
    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    code = 1
    try:
        code = int(do() or 0)  # type: ignore[call-overload]
    except SystemExit as ended:
        code = int(ended.code or 0)
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def live(entry: str, arguments: list[str], folder: str, log: str, environment: dict[str, str]) -> None:
    """`tuner`, or a function by `module:name`, in a process group of its own."""
    os.setsid()
    said, nothing = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND), os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.dup2(said, 1)
    os.dup2(said, 2)
    os.chdir(folder)
    os.environ.update(environment)
    if entry == "tuner":
        run_tuner(arguments)
    else:
        module, _, name = entry.partition(":")
        getattr(import_module(module), name)(*arguments)


def run_tuner(arguments: list[str]) -> NoReturn:
    """The command line, whose workers train the toy."""
    if LEASE_VARIABLE in os.environ:
        shorten_leases(float(os.environ[LEASE_VARIABLE]))
    helper = Helper()
    from tuner.cli.main import main
    from tuner.engines import pool

    class ForkingPool(pool.WorkerPool):
        def __init__(self, *arguments: Any) -> None:
            super().__init__(*arguments)
            self._context = helper  # type: ignore[assignment]

    pool.WorkerPool = ForkingPool  # type: ignore[misc]
    main(arguments)
    raise AssertionError("main exits")


def shorten_leases(seconds: float) -> None:
    """Leases of so many seconds, renewed at a third, in this process and those forked from it."""
    from tuner.storage import leases
    from tuner.trials import heartbeat

    assert leases.LEASE_SECONDS == heartbeat.LEASE_SECONDS == 3 * heartbeat.RENEW_EVERY_SECONDS
    leases.LEASE_SECONDS = heartbeat.LEASE_SECONDS = seconds  # type: ignore[assignment]
    heartbeat.RENEW_EVERY_SECONDS = seconds / 3


class Helper:
    """Stands in for multiprocessing's context: makes pipes, and workers by a process that was forked early."""

    def __init__(self) -> None:
        self._line, theirs = socket.socketpair()
        self.pid = fork(lambda: help_out(theirs, self._line))
        theirs.close()

    Pipe = staticmethod(multiprocessing.Pipe)

    def Process(self, *, args: tuple[Connection, Any], **others: Any) -> ForkedWorker:  # noqa: N802
        return ForkedWorker(self, *args)

    def fork(self, connection: Connection, job: Any) -> int:
        data = pickle.dumps(job)
        message = len(data).to_bytes(HEADER_BYTES, "big") + data
        self._line.sendmsg([message], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [connection.fileno()]))])
        return int.from_bytes(self._line.recv(HEADER_BYTES), "big")


def help_out(line: socket.socket, others: socket.socket) -> None:
    """Fork a worker for each message, until the planner is gone."""
    others.close()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # Corpses go at once.
    while True:
        message, files, _, _ = socket.recv_fds(line, 65536, 1)
        if not message:
            return
        connection = Connection(files[0])

        def enter(message: bytes = message, connection: Connection = connection) -> None:
            from numpy_trainer import enter_toy_worker

            line.close()
            enter_toy_worker(connection, pickle.loads(message[HEADER_BYTES:]))

        line.send(fork(enter).to_bytes(HEADER_BYTES, "big"))
        connection.close()


class ForkedWorker:
    """The part of `multiprocessing.Process` that the pool needs; how it ended only its helper could know."""

    exitcode: int | None = None

    def __init__(self, helper: Helper, connection: Connection, job: Any) -> None:
        self._helper, self._connection, self._job = helper, connection, job
        self.pid: int | None = None

    def start(self) -> None:
        self.pid = self._helper.fork(self._connection, self._job)

    def is_alive(self) -> bool:
        from tuner.storage.owners import _started

        return self.pid is not None and _started(self.pid) is not None

    def kill(self) -> None:
        assert self.pid is not None
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGKILL)

    def join(self, timeout: float | None = None) -> None:
        deadline = None if timeout is None else time.monotonic() + timeout
        while self.is_alive() and (deadline is None or time.monotonic() < deadline):
            time.sleep(0.002)


if __name__ == "__main__":
    serve()
