"""Which round answers: luck of one seed, replication at the same budget, and a budget that was too long."""

from __future__ import annotations

import math
import random
from dataclasses import replace

import pytest
from synthetic import Lab, Losses, World, bowl, config_of

from tuner.analysis.transfer import point_key
from tuner.protocol.replicas import known_seed_deviation, paired_replicas, replicas
from tuner.records import Conclude, Outcome, PhaseRecord, RunSpec, TrialRecord

PROBED = {"num_trials": 8, "adjust": "probe", "decay_shares": [0.1, 0.2, 0.4]}
AUTO = {"num_trials": 2, "num_seeds": 3, "budget_multiple": "auto"}


def rounds_do(validation: World) -> World:
    usual = bowl()
    return lambda spec, step: validation(spec, step) if spec.schedule.decay_steps else usual(spec, step)


def decades(spec: RunSpec) -> float:
    return abs(math.log10(spec.learning_rate / 1e-3))


def lucky_at_first(spec: RunSpec, step: int) -> Losses:
    """Best in the middle of any run. The best point of round 1 is so by its first seed alone."""
    luck = 0.0 if decades(spec) >= 0.1 else -0.05 if spec.seed == 7 else 0.1
    return 1.0, 0.5 + 0.05 * decades(spec) + (step / spec.max_train_steps - 0.5) ** 2 + luck


def learns_at_once(study: int, noise: float) -> World:
    """Everything is learned in the first 40 of 600 steps."""

    def measure(spec: RunSpec, step: int) -> Losses:
        luck = random.Random(f"{study}/{spec.seed}/{spec.learning_rate}/{step}/{spec.max_train_steps}")
        return 1.0, 1.0 + 0.05 * decades(spec) + math.exp(-step / 8) + luck.gauss(0, noise)

    return measure


def test_a_round_with_further_seeds_stands_for_the_one_that_chose_its_points() -> None:
    lab = Lab(config_of(round_1=PROBED, round_2=AUTO), rounds_do(lucky_at_first)).play()
    assert isinstance(lab.end, Conclude)
    lucky = min(lab.trials("round_1"), key=lambda trial: trial.best_value or 9.0)
    assert lab.study.phase("round_2").plan.max_train_steps == 600
    assert lucky.params != lab.end.answer.params
    assert lab.end.answer.best_value > (lucky.best_value or 0.0)
    assert "round_2 trained the best points again with further seeds and stands for round_1" in (
        lab.decision("answer").reason
    )


@pytest.mark.parametrize("noise", [0.003, 0.01, 0.03])
def test_the_shorter_budget_answers_after_too_long(noise: float) -> None:
    ends = []
    for study in range(8):
        lab = Lab(
            config_of(round_1=PROBED, round_2=AUTO | {"num_seeds": 2}), rounds_do(learns_at_once(study, noise))
        ).play()
        assert isinstance(lab.end, Conclude)
        if lab.study.phase("round_1").verdict == "too long":
            ends.append(lab.end.answer.max_train_steps)
    assert len(ends) >= 3
    assert sum(budget < 600 for budget in ends) >= len(ends) - 1


def test_a_longer_budget_that_is_ahead_by_more_than_chance_answers_though_it_was_called_too_long() -> None:
    noisy = learns_at_once(1, 0.01)

    def needs_the_length(spec: RunSpec, step: int) -> Losses:
        measured = noisy(spec, step)
        assert not isinstance(measured, str)
        return measured[0], measured[1] + (0.5 if spec.max_train_steps < 600 else 0.0)

    lab = Lab(config_of(round_1=PROBED, round_2=AUTO), rounds_do(needs_the_length)).play()
    assert isinstance(lab.end, Conclude)
    assert lab.study.phase("round_1").verdict == "too long"
    assert lab.end.answer.max_train_steps == 600
    assert "shorter training was worse: round_2 reached 1." in lab.decision("answer").reason


def drawn(lab: Lab, name: str, *rates_and_seeds: tuple[float, int, float]) -> PhaseRecord:
    """A closed phase whose trials are those of round 1, with other rates, seeds and values."""
    phase = lab.study.phase("round_1")
    trials = tuple(
        replace(
            phase.trials[0],
            trial=number,
            phase=name,
            number=number,
            params={"learning_rate": rate},
            spec=replace(phase.trials[0].spec, learning_rate=rate, seed=seed),
            outcome=Outcome("complete", ""),
            best_value=value,
        )
        for number, (rate, seed, value) in enumerate(rates_and_seeds)
    )
    return replace(phase, plan=replace(phase.plan, name=name), trials=trials)


@pytest.fixture(scope="module")
def lab() -> Lab:
    return Lab(config_of(round_1=PROBED, round_2=AUTO), bowl()).play()


def test_a_point_that_was_drawn_twice_is_one_run_and_not_two_seeds(lab: Lab) -> None:
    twice = drawn(lab, "round_1", (1e-3, 7, 1.0), (1e-3, 7, 1.0), (2e-3, 7, 1.5))
    assert [len(trials) for trials in replicas(twice).values()] == [1, 1]
    assert known_seed_deviation(replace(lab.study, phases=(twice,))) is None
    seeds = drawn(lab, "round_2", (1e-3, 7, 1.0), (1e-3, 7, 1.0), (1e-3, 8, 1.2))
    assert known_seed_deviation(replace(lab.study, phases=(twice, replace(seeds)))) == pytest.approx(0.2 / math.sqrt(2))


def test_rounds_are_paired_by_the_seeds_that_both_have(lab: Lab) -> None:
    earlier = drawn(lab, "round_1", (1e-3, 7, 1.0), (2e-3, 7, 1.1), (3e-3, 7, 1.2))
    later = drawn(lab, "round_2", (1e-3, 7, 0.9), (1e-3, 8, 1.9), (2e-3, 8, 1.0))

    def values(trials: list[TrialRecord]) -> list[float | None]:
        return [trial.best_value for trial in trials]

    pairs = {key: (values(a), values(b)) for key, (a, b) in paired_replicas(earlier, later).items()}
    assert pairs == {
        point_key({"learning_rate": 1e-3}): ([1.0], [0.9]),
        point_key({"learning_rate": 2e-3}): ([1.1], [1.0]),
    }
