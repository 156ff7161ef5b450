"""TPE and GP propose in generations, from stored rows alone; infeasible trials repel them."""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from optuna.trial import TrialState

from tuner.config.schema import StudyConfig
from tuner.protocol.generations import num_startup
from tuner.protocol.rounds import advance_round
from tuner.records import (
    AddTrials,
    ClosePhase,
    EvalSpec,
    OptimizerSpec,
    Outcome,
    PhasePlan,
    PhaseRecord,
    RunSpec,
    ScheduleSpec,
    StudyRecord,
    TrialRecord,
    Wait,
)
from tuner.trials import adaptive
from tuner.trials.outcomes import SamplerEnd, sampler_end
from tuner.trials.proposals import propose

Objective = Callable[[dict[str, Any]], float | None]
"""A value, or None for an infeasible point."""

PLAN = PhasePlan(
    name="round_1",
    kind="round_1",
    max_train_steps=100,
    eval=EvalSpec(metric="loss", direction="minimize", batch_size=4, num_train_examples=4),
)
SPEC = RunSpec(
    seed=0,
    max_train_steps=100,
    learning_rate=1e-3,
    schedule=ScheduleSpec(kind="warmup_stable_decay", warmup_steps=5, decay_steps=20),
    optimizer=OptimizerSpec(name="adamw", weight_decay=0.0),
    max_grad_norm=None,
    precision="fp32",
    global_batch_size=4,
    eval_every_steps=10,
)


def config_of(sampler: str, *, num_trials: int = 16, parallelism: int = 4, **more: Any) -> StudyConfig:
    return StudyConfig.model_validate(
        {
            "study": "searched",
            "workload": {"kind": "python", "class": "a:B"},
            "budget": {"max_steps": 2000},
            "search_space": {
                "learning_rate": {"low": 1e-5, "high": 1e-1, "scale": "log"},
                "beta1": {"low": 0.8, "high": 0.99, "scale": "one_minus_log"},
            },
            "round_1": {"sampler": sampler, "num_trials": num_trials, "parallelism": parallelism, "adjust": "none"},
            **more,
        }
    )


def hill(params: dict[str, Any]) -> float | None:
    """Best at a rate of 1e-3."""
    return (math.log10(params["learning_rate"]) + 3) ** 2 + (params["beta1"] - 0.9) ** 2


def cliff(params: dict[str, Any]) -> float | None:
    """Ever better with the rate, until it diverges above 1e-2: half of the range is good, a quarter is lost."""
    return None if params["learning_rate"] > 1e-2 else -math.log10(params["learning_rate"])


def searched(config: StudyConfig, objective: Objective, *, order: int, workers: int) -> list[dict[str, Any]]:
    """Play round 1 over stored records: `workers` trials run at a time and end in a random order.

    Each question is asked twice, so a cut anywhere in between asks for what was already asked.
    """
    chance, trials, moves = random.Random(order), list[TrialRecord](), 0
    phase = PhaseRecord(
        plan=PLAN,
        trials=stored(
            propose(config, config.search_space, PhaseRecord(plan=PLAN), num_points=config.round_1.parallelism), 0
        ),
    )
    while moves < 1000:
        moves += 1
        study = StudyRecord(name="searched", state="running", phases=(phase,))
        move = advance_round(config, study, phase=phase)
        if isinstance(move, ClosePhase):
            return [trial.params for trial in phase.trials]
        if isinstance(move, AddTrials):
            first, again = (propose(config, config.search_space, phase, num_points=move.num_points) for _ in range(2))
            assert first == again
            phase = replace(phase, trials=(*phase.trials, *stored(first, len(phase.trials))))
            continue
        assert isinstance(move, Wait)
        able = [trial for trial in phase.trials if not trial.is_ended][:workers]
        trials = [ended(trial, objective) if trial == chance.choice(able) else trial for trial in phase.trials]
        phase = replace(phase, trials=tuple(trials))
    raise AssertionError("no end")


def stored(points: list[dict[str, Any]], first: int) -> tuple[TrialRecord, ...]:
    return tuple(
        TrialRecord(trial=1 + n, phase="round_1", number=n, params=point, spec=SPEC, state="waiting")
        for n, point in enumerate(points, first)
    )


def ended(trial: TrialRecord, objective: Objective) -> TrialRecord:
    value = objective(trial.params)
    outcome = Outcome("complete") if value is not None else Outcome("infeasible", "diverged")
    # A trial that diverged was good before.
    return replace(trial, state="ended", outcome=outcome, best_value=-9.0 if value is None else value, best_step=100)


def test_a_point_of_the_users_beyond_the_choices_is_not_told_to_the_sampler() -> None:
    config = config_of("tpe", num_trials=8)
    widths = {"options.width": {"choices": [8, 16]}}
    config = StudyConfig.model_validate(
        {**config.model_dump(mode="json", by_alias=True), "search_space": {**config.search_space, **widths}}
    )
    points = propose(config, config.search_space, PhaseRecord(plan=PLAN), num_points=4)
    known = tuple(ended(trial, hill) for trial in stored(points, 0))
    strange = replace(known[0], trial=9, number=4, params={**points[0], "options.width": 12})
    after = [
        adaptive.adaptive_points(
            "tpe", config.search_space, [5], seed=(1, "round_1"), past=adaptive.Past(trials, "minimize")
        )
        for trials in (known, (*known, strange))
    ]
    assert after[0] == after[1]


def test_proposals_depend_on_no_worker_and_on_no_order_of_ends() -> None:
    config = config_of("tpe")
    alone = searched(config, hill, order=0, workers=1)
    assert len(alone) == config.round_1.num_trials
    assert alone == searched(config, hill, order=1, workers=3) == searched(config, hill, order=2, workers=4)


def test_gp_proposes_the_same_point_again() -> None:
    config = config_of("gp", num_trials=5, parallelism=4)
    known = stored(propose(config, config.search_space, PhaseRecord(plan=PLAN), num_points=4), 0)
    phase = PhaseRecord(plan=PLAN, trials=tuple(ended(trial, cliff) for trial in known))
    (first,), (again,) = (propose(config, config.search_space, phase, num_points=1) for _ in range(2))
    assert first == again


def test_the_points_of_one_generation_differ() -> None:
    points = searched(config_of("tpe"), hill, order=0, workers=2)
    assert len({tuple(sorted(point.items())) for point in points}) == len(points)


def test_a_search_learns_from_its_trials() -> None:
    config = config_of("tpe", num_trials=40)
    points = searched(config, hill, order=0, workers=2)
    start = num_startup(config)
    distances = [abs(math.log10(point["learning_rate"]) + 3) for point in points]
    assert sum(distances[start:]) / len(distances[start:]) < 0.8 * sum(distances[:start]) / start


def num_lost(config: StudyConfig) -> int:
    points = searched(config, cliff, order=0, workers=2)[num_startup(config) :]
    return sum(point["learning_rate"] > 1e-2 for point in points)


def test_a_diverged_region_is_avoided(monkeypatch: pytest.MonkeyPatch) -> None:
    """A sampler that does not hear of infeasible trials walks over the cliff for ever, as one that hears FAIL does."""
    config = config_of("tpe", num_trials=40)
    heard = num_lost(config)

    def deaf(trial: TrialRecord, *, worst: float) -> SamplerEnd | None:
        return sampler_end(trial, worst=worst) if trial.is_feasible else None

    monkeypatch.setattr(adaptive, "sampler_end", deaf)
    assert heard <= 0.6 * num_lost(config)


@pytest.mark.slow
def test_gp_stays_near_the_feasible_side() -> None:
    config = config_of("gp", num_trials=10)
    points = searched(config, cliff, order=0, workers=2)[num_startup(config) :]
    # The best value lies on the very edge: to step over it by little is no fault.
    assert all(point["learning_rate"] < 3e-2 for point in points)


def test_all_infeasible_still_proposes() -> None:
    config = config_of("tpe", num_trials=8)
    trials = tuple(
        ended(trial, lambda _: None)
        for trial in stored(propose(config, config.search_space, PhaseRecord(plan=PLAN), num_points=4), 0)
    )
    assert len(propose(config, config.search_space, PhaseRecord(plan=PLAN, trials=trials), num_points=4)) == 4


@pytest.mark.parametrize(
    ("outcome", "told"),
    [
        (Outcome("complete"), (TrialState.COMPLETE, 1.0, -1.0)),
        (Outcome("infeasible", "diverged"), (TrialState.COMPLETE, 7.0, 1.0)),
        (Outcome("crashed"), None),
    ],
)
def test_each_outcome_is_told_to_samplers_in_one_way(outcome: Outcome, told: object) -> None:
    trial = replace(stored([{}], 0)[0], state="ended", outcome=outcome, best_value=1.0)
    end = sampler_end(trial, worst=7.0)
    assert (end and (end.state, end.value, end.constraint)) == told


def test_choices_and_whole_numbers_are_searched_too() -> None:
    space = {"width": {"low": 8, "high": 64, "integer": True, "scale": "log"}, "act": {"choices": ["a", 1, True]}}
    config = config_of("tpe", num_trials=12, search_space=space, training={"learning_rate": 1e-3})

    def wide(params: dict[str, Any]) -> float | None:
        return -float(params["width"])

    points = searched(config, wide, order=0, workers=2)
    assert all(isinstance(point["width"], int) and 8 <= point["width"] <= 64 for point in points)
    assert {type(point["act"]) for point in points} <= {str, int, bool}


@pytest.mark.parametrize("sampler", ["halton", "tpe"])
def test_points_within_a_stretch_lie_there_and_go_on_by_number(sampler: str) -> None:
    config = config_of(sampler)
    known = stored(propose(config, config.given_space, PhaseRecord(plan=PLAN), num_points=4), 0)
    phase = PhaseRecord(plan=PLAN, trials=tuple(ended(trial, hill) for trial in known))
    within = {"learning_rate": (1e-1, 3e-1)}
    points = propose(config, config.given_space, phase, num_points=4, within=within)
    assert all(1e-1 <= point["learning_rate"] <= 3e-1 for point in points)  # type: ignore[operator]
    assert len({point["learning_rate"] for point in points}) == 4
    assert not {point["beta1"] for point in points} & {trial.params["beta1"] for trial in known}
