"""Wherever two runs share a past, it is trained once, and nobody can tell from the numbers: one case for each way."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from in_process import SPEC, Study, answer_of, longer

from tuner.config.canonical import config_to_json
from tuner.records import ClosePhase, Conclude, Decision, RunSpec, ScheduleSpec
from tuner.storage.extending import extend

LONGER = longer(SPEC, 10)
DECAY_START = SPEC.max_train_steps - SPEC.schedule.decay_steps
SQRT = replace(SPEC, schedule=replace(SPEC.schedule, decay_shape="1-sqrt"))
CONSTANT = replace(SPEC, max_train_steps=30, schedule=ScheduleSpec(kind="constant", warmup_steps=2))


def one_round(*specs: RunSpec) -> Callable[[Path], Study]:
    def run(home: Path) -> Study:
        study = Study(home, *specs)
        study.run()
        return study

    return run


def two_rounds(home: Path) -> Study:
    study = Study(home)
    study.run()
    study.store.apply(study.planner, ClosePhase(phase="round_1", verdict="adequate", reason="it is"))
    study.open("round_2", LONGER)
    study.run()
    return study


def extended(home: Path) -> Study:
    """A study that ended, and was opened again for another round."""
    study = Study(home)
    (trial,) = study.run()
    study.store.apply(study.planner, ClosePhase(phase="round_1", verdict="adequate", reason="it is"))
    study.store.apply(study.planner, Conclude(answer=answer_of(trial)))
    more = Decision(kind="extended", reason="more", numbers={"changes": [], "points": []})
    extend(study.store, study.planner, config=config_to_json(study.config), decisions=[more])
    study.open("round_2", LONGER)
    study.run()
    return study


def two_studies(home: Path) -> Study:
    first = Study(home, name="earlier")
    first.run()
    first.close()
    return one_round(LONGER)(home)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("run", "specs", "shared"),
    [
        pytest.param(one_round(SPEC, LONGER), (SPEC, LONGER), DECAY_START + 1, id="budgets"),
        pytest.param(one_round(SPEC, SQRT), (SPEC, SQRT), DECAY_START + 1, id="what has not acted yet"),
        pytest.param(one_round(SPEC, CONSTANT), (SPEC, CONSTANT), DECAY_START + 1, id="schedules on one trunk"),
        pytest.param(two_rounds, (SPEC, LONGER), DECAY_START + 1, id="phases"),
        pytest.param(extended, (SPEC, LONGER), DECAY_START + 1, id="after an extension"),
        pytest.param(two_studies, (LONGER,), DECAY_START + 1, id="studies in one home"),
    ],
)
def test_a_shared_past_is_trained_once_and_changes_no_number(
    run: Callable[[Path], Study], specs: tuple[RunSpec, ...], shared: int, tmp_path: Path
) -> None:
    study = run(tmp_path / "shared")
    bill = study.store.bill(study.name)
    assert (bill["shared"], bill["recomputed"], bill["overshoot"]) == (shared, 0, 0)
    assert bill["executed"] == bill["stage_tree"] == bill["requested"] - shared
    alone = Study(tmp_path / "alone", *specs)
    alone.bench = alone.new_bench(share=False)
    alone.run()
    assert study.results() == alone.results()
    study.close()
    alone.close()


@pytest.mark.slow
def test_an_interrupted_trial_shares_its_past_with_itself(tmp_path: Path) -> None:
    study = Study(tmp_path / "stopped")
    study.stop_at(9)
    study.bench = study.new_bench()
    study.run()
    bill = study.store.bill("x")
    assert (bill["executed"], bill["recomputed"]) == (SPEC.max_train_steps, 0)
    alone = Study(tmp_path / "alone")
    alone.run()
    assert study.results() == alone.results()
