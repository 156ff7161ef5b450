"""The planner's loop against workers that die: what is bounded, and what signals mean."""

from __future__ import annotations

import signal
from typing import Any

import pytest

from tuner.engines.local import MAX_SCORING_DEATHS, STOP_SIGNALS, LocalEngine
from tuner.engines.pool import Death
from tuner.storage.patience import Patience


class DyingPool:
    """Every worker that is asked dies without a word."""

    def __init__(self) -> None:
        self.asked = self.started = 0

    def start(self) -> None:
        self.started += 1

    def stop(self) -> None: ...

    def messages(self, timeout: float) -> tuple[list[Any], list[Death]]:
        # A new worker says that it is ready, then the asked one dies.
        return [], [Death(1000 + self.asked, "died")]

    def tell_any(self, message: object) -> int:
        self.asked += 1
        return self.asked

    def has(self, worker: int) -> bool:
        return False


class Nothing:
    """Stands for the store, the lease, the planner and the observer where they are only told things."""

    patience = Patience()

    def __getattr__(self, name: str) -> Any:
        return lambda *_, **__: None


def engine_of(pool: Any) -> LocalEngine:
    nothing: Any = Nothing()
    return LocalEngine(nothing, nothing, nothing, pool, nothing)


def test_workers_that_die_over_the_test_set_cost_the_score_and_not_the_answer() -> None:
    pool = DyingPool()
    assert engine_of(pool)._score(1) == ()
    assert pool.asked == MAX_SCORING_DEATHS


def test_an_ignored_hangup_stays_ignored(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Any] = []
    engine = engine_of(DyingPool())
    monkeypatch.setattr(engine, "_loop", lambda: seen.append([signal.getsignal(n) for n in STOP_SIGNALS]))
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        engine.run()
        assert seen[0][2] is signal.SIG_IGN, "nohup is heeded"
        assert seen[0][0] == engine._on_signal
        signal.signal(signal.SIGHUP, signal.SIG_DFL)
        engine.run()
        assert seen[1] == [engine._on_signal] * 3, "a closing terminal saves the study"
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_DFL
    finally:
        signal.signal(signal.SIGHUP, before)
