"""Linear and cosine schedules in the rounds: no more than the warmup is shared, and every phase says so."""

from __future__ import annotations

from typing import Any

import pytest
from synthetic import Lab, config_of, trained

from tuner.protocol.plan import closed_form_plan
from tuner.training.recipe import RecipeKeys


def play(kind: str, **sections: Any) -> Lab:
    return Lab(sections_of(kind, **sections), trained(lambda step: 1.0 + 600 / (600 + step))).play(max_moves=80)


def sections_of(kind: str, *, adjust: str = "raw", **sections: Any) -> Any:
    # The default, which must not open a phase that needs a plateau.
    round_1 = {"num_trials": 6, "adjust": adjust, "decay_shares": (0.1, 0.2, 0.4)}
    return config_of(**{"training": {"schedule": kind}, "round_1": round_1, **sections})


@pytest.mark.parametrize("kind", ["linear", "cosine"])
def test_every_round_trains_on_the_schedule_itself_and_reserves_no_fork(kind: str) -> None:
    lab = play(kind)
    assert {phase.name for phase in lab.study.phases} >= {"budget_sweep", "round_1", "round_1.2", "round_2"}
    assert {trial.spec.schedule.kind for trial in lab.trials("budget_sweep")} == {"constant"}
    for name in ("round_1", "round_1.2", "round_2"):
        for trial in lab.trials(name):
            assert (trial.spec.schedule.kind, trial.spec.schedule.decay_steps) == (kind, 0)
            assert trial.spec.fork_steps == ()


def test_a_doubled_round_stretches_the_horizon_and_keeps_the_peak_and_the_warmup() -> None:
    lab = play("cosine")
    for short, long in zip(lab.trials("round_1"), lab.trials("round_1.2"), strict=True):
        assert long.spec.max_train_steps == 2 * short.spec.max_train_steps
        assert long.spec.learning_rate == short.spec.learning_rate
        assert long.spec.schedule == short.spec.schedule
        keys = [RecipeKeys("00" * 32, spec) for spec in (short.spec, long.spec)]
        shared = [s for s in range(short.spec.max_train_steps + 1) if keys[0].key_at(s) == keys[1].key_at(s)]
        # The warmup and one update at the peak: with no warmup, that one alone.
        assert shared == list(range(short.spec.schedule.warmup_steps + 2))


def test_a_run_on_a_cosine_shares_no_decayed_update_with_a_longer_one() -> None:
    lab = play("cosine", training={"schedule": "cosine", "warmup_steps": 0})
    short, long = lab.trials("round_1")[0].spec, lab.trials("round_1.2")[0].spec
    keys = [RecipeKeys("00" * 32, spec) for spec in (short, long)]
    assert [s for s in range(short.max_train_steps + 1) if keys[0].key_at(s) == keys[1].key_at(s)] == [0, 1]


def test_no_probe_and_no_other_decay_is_tried() -> None:
    lab = play("linear")
    assert not {phase.plan.kind for phase in lab.study.phases} & {"probe", "decay"}


def test_decisions_say_what_is_not_shared() -> None:
    lab = play("cosine")
    assert "and a cosine decay to the end" in lab.decision("round_opened", "round_1").reason
    longer = lab.decision("adjusted", "round_1.2").reason
    assert (
        "train anew to 1,200 steps, as a cosine schedule over another horizon shares no more than the warmup" in longer
    )
    assert "plateau" not in longer
    told = lab.decision("round_opened", "round_2").reason
    assert "stretch the decay, anew at the same peak rate, the schedule is cosine" in told
    assert "plateau" not in told


def test_plan_names_no_plateau_and_no_phase_that_needs_one() -> None:
    plan = closed_form_plan(sections_of("cosine"))
    assert {phase.name for phase in plan} == {"budget_sweep", "round_1", "round_1.2", "round_1.3", "round_2"}
    assert not [phase for phase in plan if "plateau" in phase.note]
    assert "trained anew: cosine shares no more than the warmup" in plan[-1].note
