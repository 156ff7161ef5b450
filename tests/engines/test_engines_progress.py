"""The speed that a running study tells: of all workers together, and also where evaluations are rare."""

from __future__ import annotations

import pytest

from tuner.cli import watching
from tuner.engines import progress
from tuner.engines.progress import Snapshot, Speedometer
from tuner.records import EvalSpec, PhasePlan, PhaseRecord, StudyRecord


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [0.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    return now


def speed_after(told: list[tuple[float, int, int]], clock: list[float]) -> float:
    meter = Speedometer()
    for at, trial, step in told:
        clock[0] = at
        meter.at_step(trial, step)
    return meter._speed()


def test_speed_of_rare_evaluations_is_that_of_all_workers(clock: list[float]) -> None:
    # Two workers, 50 steps every 100 seconds each; a third trial begins between their words.
    told = [(100.0 * n + 50.0 * worker, worker, 50 * n) for n in range(4) for worker in (0, 1)]
    assert speed_after([*sorted(told), (351.0, 2, 10)], clock) == pytest.approx(1.0, rel=0.01)


def test_speed_of_frequent_evaluations_is_that_of_the_recent_past(clock: list[float]) -> None:
    slow_then_fast = [(float(n), 0, n if n < 100 else 100 + 10 * (n - 100)) for n in range(200)]
    assert speed_after(slow_then_fast, clock) == pytest.approx(10.0)


def test_a_probe_is_what_runs_though_its_round_is_open_too(clock: list[float]) -> None:
    rule = EvalSpec(metric="loss", direction="minimize", batch_size=16, num_train_examples=64)
    sweep, first, probe = (
        PhaseRecord(
            plan=PhasePlan(name=name, kind=kind, max_train_steps=100, eval=rule), is_closed=name == "budget_sweep"
        )
        for name, kind in (("budget_sweep", "budget_sweep"), ("round_1", "round_1"), ("round_1.probe", "probe"))
    )
    told = []
    for phases in ((sweep,), (sweep, first), (sweep, first, probe)):
        said = Speedometer().snapshot(StudyRecord(name="s", state="running", phases=phases))
        told.append(said and said.phase)
    assert told == [None, "round_1", "round_1.probe"]


def snapshot(speed: float) -> Snapshot:
    return Snapshot(phase="round_1", num_ended=1, num_trials=5, steps_done=100, steps_total=600, steps_per_second=speed)


@pytest.mark.parametrize(
    ("speed", "told"),
    [
        (0.0, "1/5 trials, 100/600 steps"),
        (0.25, "1/5 trials, 100/600 steps, 0.25 steps/s, at most 33m 20s left in this phase"),
        (50.0, "1/5 trials, 100/600 steps, 50 steps/s, at most 10s left in this phase"),
    ],
)
def test_progress_names_no_speed_that_it_does_not_know(speed: float, told: str) -> None:
    assert watching._detail(snapshot(speed)) == told
