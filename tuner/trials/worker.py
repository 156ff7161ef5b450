"""A worker process: claims trials of one study and runs them until told to stop or left alone.

It holds no state that matters: whatever it knows is in the database or is recomputed.
"""

from __future__ import annotations

import contextlib
import os
import queue
import signal
import threading
import traceback
from multiprocessing.connection import Connection

from tuner.errors import LeaseLost, TryAgainLater, TunerError, UserError, is_disk_full
from tuner.records import TEST, Evaluation, StudyRecord, TrialRecord
from tuner.storage.leases import Owner
from tuner.storage.patience import Patience
from tuner.storage.store import Claim, Store
from tuner.trials.bench import BuildsBench, Control
from tuner.trials.best_weights import whole_best_weights
from tuner.trials.facts import refuse_other_data, stored_facts
from tuner.trials.messages import (
    AVERAGED_TEST,
    AtStep,
    Crashed,
    FromWorker,
    Left,
    Ready,
    Refused,
    Score,
    Scored,
    Stop,
    ToWorker,
    Wake,
    Warned,
    WorkerJob,
)
from tuner.trials.runner import run_trial

DISK_FULL = "the disk is full; free some space and run the same command again"
LEAVE_SECONDS = 20.0
"""A worker that was told to leave, and does not, ends itself after this; its parent is more impatient."""

IDLE_SECONDS = 0.5
"""Pause between claims when there is nothing to do; a Wake cuts it short."""


def work(connection: Connection, job: WorkerJob, build_bench: BuildsBench) -> None:
    """The entry point of a spawned worker process, which trains by the bench that it builds."""
    # Ctrl-C and a terminal that closes reach the whole process group; the parent tells us.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    threading.excepthook = _except_full_disk
    line = _Line(connection)
    signal.signal(signal.SIGTERM, lambda number, frame: line.control.stop.set())
    try:
        _Worker(line, job, build_bench).run()
    except TunerError as error:
        line.send(Refused(str(error), error.exit_code))
    except Exception as error:
        if is_disk_full(error):
            line.send(Refused(DISK_FULL, TryAgainLater.exit_code))
        else:
            line.send(Refused(traceback.format_exc(), 1))


class _Line:
    """Both directions of the pipe to the parent. A closed pipe means: stop (D4)."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._sending = threading.Lock()
        self.control = Control()
        self.inbox: queue.Queue[ToWorker] = queue.Queue()
        threading.Thread(target=self._listen, name="listen", daemon=True).start()

    def send(self, message: FromWorker) -> None:
        try:
            with self._sending:
                self._connection.send(message)
        except (BrokenPipeError, ConnectionResetError):
            self.control.stop.set()

    def _listen(self) -> None:
        while True:
            try:
                message: ToWorker = self._connection.recv()
            except (EOFError, OSError):
                message = Stop()
            if isinstance(message, Stop):
                self.control.stop.set()
                _leave_for_sure()
            self.inbox.put(message)
            if isinstance(message, Stop):
                return


def _except_full_disk(failed: threading.ExceptHookArgs) -> None:
    """TensorBoard writes from a thread of its own, which ends for lack of space; whoever logs next is told."""
    if failed.exc_value is None or not is_disk_full(failed.exc_value):
        threading.__excepthook__(failed)


def _leave_for_sure() -> None:
    """Bound how long a step that hangs can keep a worker that was told to leave, or whose parent is gone."""
    timer = threading.Timer(LEAVE_SECONDS, os._exit, args=(1,))
    timer.daemon = True
    timer.start()


class _Worker:
    def __init__(self, line: _Line, job: WorkerJob, build_bench: BuildsBench) -> None:
        self._line, self._job = line, job
        patience = Patience(on_wait=lambda told: line.send(Warned(told)), is_over=line.control.is_interrupted)
        self._store = Store.open(job.storage_url, job.home, create=False, patience=patience)
        self._owner = Owner.of_this_process(f"worker {job.index}")
        self._bench = build_bench(self._store, self._store.study(job.study), job, line.control)
        self._bench.on_progress = lambda trial, step: line.send(AtStep(trial, step))
        self._bench.on_warning = lambda message: line.send(Warned(message))

    def run(self) -> None:
        try:
            facts = self._bench.facts()
            refuse_other_data(stored_facts(self._store.load(self._job.study, with_curves=False)), facts)
            self._line.send(Ready(facts, self._bench.sharing_kind()))
            while not self._line.control.stop.is_set():
                claim = self._store.patience.work(
                    lambda: self._store.claim(self._job.study, self._owner, share=self._job.share)
                )
                if claim is not None:
                    self._carry_out(claim)
                else:
                    self._wait()
        finally:
            self._store.close()

    def _carry_out(self, claim: Claim) -> None:
        trial = claim.trial.trial
        try:
            self._line.send(Left(trial, run_trial(claim, self._bench)))
        except LeaseLost:
            return
        except (UserError, TryAgainLater):
            self._give_back(claim)
            raise
        except Exception as error:
            if is_disk_full(error):
                self._give_back(claim)
                raise
            # No database keeps halves of characters, PostgreSQL no NUL: both are written out.
            message = f"{type(error).__name__}: {error}".encode("utf-8", "backslashreplace").decode()
            message = message.replace("\0", "\\x00")
            with contextlib.suppress(LeaseLost):
                self._store.fail_trial(claim.lease, message)
            self._line.send(Crashed(trial, f"{message}\n{traceback.format_exc()}"))

    def _give_back(self, claim: Claim) -> None:
        # If even this cannot be written, the lease is broken by whoever finds this process dead.
        with contextlib.suppress(Exception):
            self._store.release(claim.lease)

    def _wait(self) -> None:
        try:
            message = self._line.inbox.get(timeout=IDLE_SECONDS)
        except queue.Empty:
            return
        if isinstance(message, Score):
            self._line.send(Scored(message.trial, self._score(message)))
        elif isinstance(message, Wake):
            return

    def _score(self, asked: Score) -> tuple[Evaluation, ...]:
        """The metrics of a trial's best weights on the test set, which selection never saw."""
        record = self._store.load(self._job.study, with_curves=False)
        trial = next(trial for trial in record.trials() if trial.trial == asked.trial)
        rows = self._scored(record, trial, horizon=None)
        return rows if asked.horizon is None else (*rows, *self._scored(record, trial, horizon=asked.horizon))

    def _scored(self, record: StudyRecord, trial: TrialRecord, *, horizon: int | None) -> tuple[Evaluation, ...]:
        eval_spec = record.phase(trial.phase).plan.eval
        checkpoint = whole_best_weights(self._bench, trial, eval_spec, horizon=horizon)
        if checkpoint is None:
            return ()  # The planner says that there is no score; a wrong one would be worse.
        values = self._bench.test_values(trial, eval_spec, checkpoint)
        split = TEST if horizon is None else AVERAGED_TEST
        return tuple(Evaluation(checkpoint.global_step, split, metric, value) for metric, value in values.items())
