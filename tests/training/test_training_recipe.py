"""The recipe key holds what shapes the weights, and nothing else."""

from __future__ import annotations

from dataclasses import replace

import pytest
from training_workloads import EVAL, EXECUTION, SPEC

from tuner.errors import ConfigError
from tuner.records import OptimizerSpec, ScheduleSpec
from tuner.training.numerics import numerics_key, numerics_segment, sharing
from tuner.training.recipe import RecipeKeys, eval_key, static_digest, static_recipe

WORKLOAD = {"kind": "test", "data": "abc"}


def keys(spec) -> RecipeKeys:
    return RecipeKeys(static_digest(spec, WORKLOAD), spec)


@pytest.mark.parametrize(
    "changes",
    [
        {"seed": 2},
        {"optimizer": replace(SPEC.optimizer, weight_decay=0.2)},
        {"optimizer": replace(SPEC.optimizer, beta2=0.99)},
        {"optimizer": OptimizerSpec(name="sgd", weight_decay=0.1)},
        {"max_grad_norm": None},
        {"precision": "bf16"},
        {"global_batch_size": 16},
    ],
)
def test_what_shapes_the_weights_changes_the_digest(changes):
    assert static_digest(replace(SPEC, **changes), WORKLOAD) != static_digest(SPEC, WORKLOAD)


@pytest.mark.parametrize(
    "changes",
    [
        {"learning_rate": 1.0},
        {"max_train_steps": 999},
        {"eval_every_steps": 7},
        {"fork_steps": (5,)},
        {"schedule": ScheduleSpec(kind="constant", warmup_steps=3)},
        {"optimizer": replace(SPEC.optimizer, momentum=0.1)},
    ],
)
def test_rates_horizon_and_cadences_do_not(changes):
    assert static_digest(replace(SPEC, **changes), WORKLOAD) == static_digest(SPEC, WORKLOAD)


def test_the_workload_is_part_of_the_recipe():
    assert static_recipe(SPEC, WORKLOAD)["workload"] == WORKLOAD
    assert static_digest(SPEC, {**WORKLOAD, "data": "abd"}) != static_digest(SPEC, WORKLOAD)
    with pytest.raises(ConfigError, match="must hold JSON values only"):
        static_digest(SPEC, {"data": {1, 2}})


def test_keys_agree_up_to_the_first_differing_rate():
    short, long = keys(SPEC), keys(replace(SPEC, max_train_steps=200))
    assert [step for step in range(101) if short.key_at(step) == long.key_at(step)] == list(range(72))


def test_a_key_does_not_depend_on_what_was_asked_before():
    forwards, backwards = keys(SPEC), keys(SPEC)
    steps = [0, 1, 17, 50, 99, 100]
    found = {step: forwards.key_at(step) for step in steps}
    assert {step: backwards.key_at(step) for step in reversed(steps)} == found
    assert {step: keys(SPEC).key_at(step) for step in steps} == found
    assert len(set(found.values())) == len(steps)
    with pytest.raises(ValueError, match="step 101 is not within"):
        forwards.key_at(101)


def test_the_keys_definition_never_changes_within_a_version():
    recipe = {"kind": "frozen"}
    golden = RecipeKeys("00" * 32, SPEC)
    assert golden.key_at(0) == "66687aadf862bd776c8fc18b8e9f8e20089714856ee233b3902a591d0d5f2925"
    assert golden.key_at(3) == "ee7a9a60605f712d22ac4e3dad6637b08d23b68af4b15e2154042b8faf5fd041"
    assert sorted(static_recipe(SPEC, recipe)) == [
        "global_batch_size",
        "max_grad_norm",
        "optimizer",
        "permutation_version",
        "precision",
        "recipe_version",
        "seed",
        "versions",
        "workload",
    ]


def test_numerics_name_threads_micro_batch_and_device():
    segment = numerics_segment(EXECUTION)
    assert sharing(segment) == "exact"
    assert segment["device"] == "cpu"
    assert segment["device_name"]
    for changes in ({"torch_threads": 2}, {"micro_batch_size": 4}):
        assert numerics_key(numerics_segment(replace(EXECUTION, **changes))) != numerics_key(segment)
    for changes in ({"checkpoint_every_steps": 1}, {"log_every_steps": 1}):
        assert numerics_key(numerics_segment(replace(EXECUTION, **changes))) == numerics_key(segment)


def test_curves_may_be_joined_only_if_measured_alike():
    first = eval_key(EVAL, WORKLOAD, "fp32")
    assert eval_key(EVAL, WORKLOAD, "fp32") == first
    assert eval_key(EVAL, WORKLOAD, "bf16") != first
    assert eval_key(replace(EVAL, batch_size=32), WORKLOAD, "fp32") != first
    assert eval_key(replace(EVAL, num_train_examples=41), WORKLOAD, "fp32") != first
    assert eval_key(EVAL, {**WORKLOAD, "data": "x"}, "fp32") != first
