"""Runs a study with worker processes on this machine: the planner's loop, its workers, and how both end.

The loop holds nothing that the database lacks: killed at any point, the next `resume` goes on from what was committed.
"""

from __future__ import annotations

import signal
import threading
from types import FrameType
from typing import Protocol

from tuner.engines.pool import Death, WorkerPool
from tuner.engines.progress import Snapshot, Speedometer
from tuner.errors import LeaseLost, TryAgainLater, TunerError, UserError
from tuner.records import Conclude, Decision, Evaluation, GiveUp, Move, StudyRecord, Wait
from tuner.storage.leases import Lease
from tuner.storage.store import Store
from tuner.trials.heartbeat import Heartbeat
from tuner.trials.messages import AtStep, Crashed, Left, Ready, Refused, Score, Scored, Wake, Warned
from tuner.trials.planner import Planner

POLL_SECONDS = 0.25
RECHECK_SECONDS = 5.0
"""Look at the database this often even when no local worker said anything: workers elsewhere may have."""
MAX_IDLE_DEATHS = 3
"""Workers that may die in a row without any of them having said a word."""


STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
MAX_SCORING_DEATHS = 3
"""Workers that may die over the test set before the study ends without a test score."""


class Observer(Protocol):
    """Shows what happens while a study runs."""

    def decided(self, decision: Decision) -> None: ...

    def progressed(self, snapshot: Snapshot) -> None: ...

    def warned(self, message: str) -> None: ...


class Interrupted(TunerError):  # noqa: N818
    """A signal ended the run; everything was saved. Exit code 128 + the signal: 130 for Ctrl-C, 143 for SIGTERM."""

    def __init__(self, signal_number: int) -> None:
        super().__init__(f"stopped by {signal.Signals(signal_number).name}")
        self.exit_code = 128 + signal_number


_REFUSALS: dict[int, type[TunerError]] = {UserError.exit_code: UserError, TryAgainLater.exit_code: TryAgainLater}


class LocalEngine:
    """One planner and its local workers, from the first claim to the answer."""

    def __init__(self, store: Store, lease: Lease, planner: Planner, pool: WorkerPool, observer: Observer) -> None:
        self._store, self._lease, self._planner, self._pool, self._observer = store, lease, planner, pool, observer
        self._speed = Speedometer()
        self._test: tuple[Evaluation, ...] | None = None
        self._signal = 0
        self._lost = threading.Event()
        self._idle_deaths = 0
        self._shown = 0
        self._crashes: set[str] = set()

    def run(self) -> Move:
        """Take the study to its end.

        Raises:
            Interrupted: after Ctrl-C or SIGTERM, when all work is saved.
            UserError: what a worker could not use, in one line.
        """
        # What is ignored stays so: under nohup a study outlives its terminal.
        heard = [number for number in STOP_SIGNALS if signal.getsignal(number) is not signal.SIG_IGN]
        before = {number: signal.signal(number, self._on_signal) for number in heard}
        self._store.patience.is_over = lambda: bool(self._signal)
        try:
            with Heartbeat(self._store, self._lease, on_lost=self._lost.set):
                self._pool.start()
                return self._loop()
        except TryAgainLater:
            if self._signal:
                raise Interrupted(self._signal) from None
            raise
        finally:
            self._pool.stop()
            for number, handler in before.items():
                signal.signal(number, handler)

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        # Only flags: a handler runs in the midst of whatever the loop is doing.
        self._pool.is_hurried = bool(self._signal)
        self._signal = self._signal or number

    # ------------------------------------------------------------ the loop

    def _loop(self) -> Move:
        self._shown = len(self._planner.record().decisions)
        while self._planner.needs_facts():
            self._listen()
        while True:
            move, record = self._store.patience.work(self._planner.advance)
            self._show(record)
            if isinstance(move, Conclude):
                return self._finish(move, self._test_rows(move))
            if isinstance(move, GiveUp):
                return self._finish(move, ())
            if isinstance(move, Wait):
                self._wait(record)
            else:
                self._pool.tell(Wake())

    def _finish(self, move: Conclude | GiveUp, test: tuple[Evaluation, ...]) -> Move:
        ended = self._planner.finish(move, test)
        self._show(self._planner.record())
        return ended

    def _wait(self, record: StudyRecord) -> None:
        """Until a trial was left, or it is time to look again."""
        for _ in range(int(RECHECK_SECONDS / POLL_SECONDS)):
            changed = self._listen()
            snapshot = self._speed.snapshot(record)
            if snapshot is not None:
                self._observer.progressed(snapshot)
            if changed:
                return

    def _test_rows(self, move: Conclude) -> tuple[Evaluation, ...]:
        """The test score of the chosen model, unless a study that went on kept its answer: it has one."""
        if move.answer.test_value is not None:
            return ()
        averaged = move.answer.averaged
        return self._score(Score(move.answer.best_trial, None if averaged is None else averaged.horizon))

    def _score(self, score: Score) -> tuple[Evaluation, ...]:
        """Have any worker score the chosen checkpoint; ask another if that one dies, but not for ever."""
        self._test = None
        asked, num_deaths = self._pool.tell_any(score), 0
        while self._test is None:
            self._listen()
            if self._test is None and not self._pool.has(asked):
                num_deaths += 1
                if num_deaths >= MAX_SCORING_DEATHS:
                    self._observer.warned(f"{num_deaths} workers died while they scored the test set")
                    return ()
                asked = self._pool.tell_any(score)
        return self._test

    def _listen(self) -> bool:
        """Hear the workers for a moment; True if the study may have moved.

        Raises:
            Interrupted, LeaseLost, UserError: whatever ends the run.
        """
        heard, died = self._pool.messages(POLL_SECONDS)
        changed = False
        for _, message in heard:
            changed |= self._take(message)
        for death in died:
            self._mourn(death)
            changed = True
        if self._signal:
            raise Interrupted(self._signal)
        if self._lost.is_set():
            raise LeaseLost("another planner took over this study")
        return changed

    def _take(self, message: object) -> bool:
        self._idle_deaths = 0
        if isinstance(message, Refused):
            raise _REFUSALS.get(message.exit_code, TunerError)(message.message)
        if isinstance(message, Ready):
            self._planner.learn(message.facts, message.sharing)
        elif isinstance(message, AtStep):
            # A trial heard of for the first time has just started: Optuna's tables should show it.
            return self._speed.at_step(message.trial, message.step)
        elif isinstance(message, Crashed):
            self._observer.warned(self._about_crash(message))
        elif isinstance(message, Warned):
            self._observer.warned(message.message)
        elif isinstance(message, Scored):
            self._test = message.evaluations
        return isinstance(message, Left | Crashed)

    def _about_crash(self, message: Crashed) -> str:
        """The traceback the first time, one line for each repetition of the same."""
        line = message.message.splitlines()[0]
        is_new, self._crashes = line not in self._crashes, self._crashes | {line}
        return f"trial {message.trial} crashed: {message.message if is_new else line}"

    def _mourn(self, death: Death) -> None:
        """A worker died: count it against its trial, and start another (D6)."""
        if self._signal:
            return
        self._idle_deaths += 1
        reason = f"its worker process {death.how}"
        self._store.patience.work(lambda: self._store.note_death(self._lease, death.pid, reason))
        if self._idle_deaths > MAX_IDLE_DEATHS:
            raise TunerError(
                f"{self._idle_deaths} workers died one after the other without a word; the last, process {death.pid}, "
                f"{death.how}"
            )
        self._observer.warned(f"worker process {death.pid} {death.how}; another takes its place")
        self._pool.start()

    def _show(self, record: StudyRecord) -> None:
        for decision in record.decisions[self._shown :]:
            self._observer.decided(decision)
        self._shown = len(record.decisions)
