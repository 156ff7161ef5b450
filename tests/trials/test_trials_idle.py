"""Idle time: what a worker waits is counted and stored, what it trains is not."""

from __future__ import annotations

from contextlib import suppress

import pytest

from tuner.trials import idle
from tuner.trials.idle import STORE_EVERY_SECONDS, IdleClock


class Times:
    """A clock that goes only when it is told to."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 0.0
        monkeypatch.setattr(idle.time, "perf_counter", lambda: self.now)


def test_only_the_time_spent_waiting_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    times, stored = Times(monkeypatch), list[float]()
    clock = IdleClock(stored.append)
    for waited, trained in ((1.0, 100.0), (2.0, 50.0)):
        with clock.running():
            times.now += waited
        times.now += trained
    clock.store_now()
    assert stored == [3.0]


def test_waiting_costs_no_transaction_for_each_trial_and_loses_seconds_at_most(monkeypatch: pytest.MonkeyPatch) -> None:
    times, stored = Times(monkeypatch), list[float]()
    clock = IdleClock(stored.append)
    for _ in range(25):
        with clock.running():
            times.now += STORE_EVERY_SECONDS / 10
        clock.store_at_times()
    assert stored == [STORE_EVERY_SECONDS, 2 * STORE_EVERY_SECONDS]
    clock.store_now()
    clock.store_now()
    assert stored[2:] == [2.5 * STORE_EVERY_SECONDS]


def test_time_that_passes_before_an_error_counts_too(monkeypatch: pytest.MonkeyPatch) -> None:
    times, stored = Times(monkeypatch), list[float]()
    clock = IdleClock(stored.append)
    with suppress(KeyError), clock.running():
        times.now += 4.0
        raise KeyError
    clock.store_now()
    assert stored == [4.0]
