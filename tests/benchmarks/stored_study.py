"""A study of any size straight in the store: the protocol's own moves, trials that end without being trained."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict

import numpy as np
from sqlalchemy import Connection, insert, select, update

from tuner.analysis.best_steps import best, first_good_step
from tuner.config.canonical import config_to_json
from tuner.config.schema import StudyConfig
from tuner.records import (
    TRAIN_SAMPLE,
    VALIDATION,
    Conclude,
    EvalSpec,
    GiveUp,
    RunSpec,
    StudyRecord,
    Wait,
    WorkloadFacts,
)
from tuner.storage.rows import plan_of, spec_of
from tuner.storage.store import Owner, Store
from tuner.storage.tables import attempts, evals, phases, trials
from tuner.trials.planner import Planner

FACTS = WorkloadFacts(
    num_train_examples=1000,
    num_validation_examples=1000,
    num_test_examples=1000,
    metrics=("loss",),
    regularisers_off={},
)
NUM_OTHERS = 4
"""Trials beside those of round 1: three of the sweep, one of round 2."""


class Unmirrored:
    """Stands for Optuna's tables, where only our own time is of interest."""

    def follow(self, record: StudyRecord, *, warn: object) -> None: ...


def config_of(num_trials: int, num_evals: int) -> StudyConfig:
    """A study of so many trials in all, each evaluated so many times."""
    return StudyConfig.model_validate(
        {
            "study": "large",
            "workload": {"kind": "python", "class": "nowhere:Nothing"},
            "training": {"warmup_steps": 0},
            "evaluation": {"metric": "loss", "every_steps": 1},
            "budget": {
                "first_guess_steps": num_evals,
                "max_steps": num_evals,
                "perfect_fit": {"metric": "loss", "at_most": 1.0},
            },
            "budget_sweep": {"learning_rates": {"low": 1e-4, "high": 1e-2, "num_rates": 3}},
            "search_space": {
                "learning_rate": {"low": 1e-4, "high": 1e-2, "scale": "log"},
                "weight_decay": {"low": 1e-3, "high": 0.3, "scale": "log"},
            },
            "round_1": {"num_trials": max(1, num_trials - NUM_OTHERS), "adjust": "none", "widen_at_edge": False},
            "rounds": [{"num_trials": 1, "num_seeds": 1, "budget_multiple": 1, "lower_rate_twin": False}],
            "execution": {"device": "cpu"},
        }
    )


class StoredStudy:
    """A study in a store, with the planner that holds it."""

    def __init__(self, store: Store, config: StudyConfig) -> None:
        self.store, self.config = store, config
        self.me = Owner.of_this_process("planner")
        store.create_study(config.study, config=config_to_json(config), folder="", command="tuner run large.yaml")
        self.lease = store.acquire_planner(config.study, self.me)
        self.planner = Planner(store, self.lease, config, mirror=Unmirrored(), warn=print)  # type: ignore[arg-type]
        self.planner.learn(FACTS, "exact")

    def play(self) -> None:
        """To its end; the planner leaves."""
        while True:
            move, _ = self.planner.advance()
            if isinstance(move, Conclude | GiveUp):
                self.planner.finish(move)
                self.store.release(self.lease)
                return
            if isinstance(move, Wait):
                self.end_waiting()

    def end_waiting(self, at_most: int | None = None) -> int:
        """End trials as if they had been trained; how many."""
        with self.store.database.write() as connection:
            waiting = connection.execute(
                select(trials, phases.c.plan)
                .join(phases, phases.c.id == trials.c.phase_id)
                .where(trials.c.state == "waiting")
                .order_by(trials.c.id)
                .limit(-1 if at_most is None else at_most)
            ).all()
            for row in waiting:
                _end(connection, row.id, spec_of(row.spec), plan_of(row.plan).eval, fits=plan_of(row.plan).is_sweep)
        return len(waiting)


def _end(connection: Connection, trial: int, spec: RunSpec, measured: EvalSpec, *, fits: bool) -> None:
    steps = spec.eval_steps()
    curves = dict(_curves(trial, spec, len(steps), fits=fits))
    rows = [
        {
            "trial_id": trial,
            "global_step": step,
            "split": split,
            "metric": "loss",
            "value": value,
            "eval_key": "e",
            "measured_by_trial": trial,
        }
        for split, values in curves.items()
        for step, value in zip(steps, values, strict=True)
    ]
    connection.execute(insert(evals), rows)
    curve = tuple(zip(steps, curves[VALIDATION], strict=True))
    found = best(curve, measured.direction)
    assert found is not None
    connection.execute(
        insert(attempts).values(
            trial_id=trial,
            lease_epoch=1,
            from_step=0,
            to_step=steps[-1],
            seconds_train=0.01 * steps[-1],
            seconds_eval=0.0005 * steps[-1],
            started_at="2030-01-01T00:00:00Z",
            ended_at="2030-01-01T00:00:10Z",
            how_ended="ended",
            owner=json.dumps(asdict(Owner.of_this_process("worker 0"))),
        )
    )
    is_fit = fits and curves[TRAIN_SAMPLE][-1] <= 1.0
    connection.execute(
        update(trials)
        .where(trials.c.id == trial)
        .values(
            state="ended",
            outcome="stopped" if fits and not is_fit else "complete",
            reason="fitted" if is_fit else ("dominated" if fits else ""),
            last_step=steps[-1],
            best_step=found[0],
            best_value=found[1],
            last_value=curve[-1][1],
            first_good_step=first_good_step(curve, measured.direction),
            num_evals=len(curve),
            steps_executed=steps[-1],
            num_attempts=1,
            lease_epoch=1,
            static_digest="s",
        )
    )


def _curves(trial: int, spec: RunSpec, num_evals: int, *, fits: bool) -> Iterator[tuple[str, list[float]]]:
    """Loss falls from 4; of the sweep's rates the middle one fits at the last evaluation."""
    noise = np.random.default_rng(trial)
    distance = abs(np.log10(spec.learning_rate) + 3)
    progress = np.linspace(1 / num_evals, 1.0, num_evals)
    train = (1.0 + 0.5 * distance if fits else 1.1 + 0.3 * distance) + 3.0 * (1 - progress) ** 2
    yield TRAIN_SAMPLE, train.tolist()
    yield VALIDATION, (train + 0.2 + 0.02 * noise.standard_normal(num_evals)).tolist()
