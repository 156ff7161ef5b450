"""The recipe key: what shaped the weights after s updates, and nothing else (D2).

The one rule: static settings and the rates of the updates already made are in; horizon, cadences, micro-batch and
device are out. Equal keys mean that one run's checkpoint may stand for the other's.
"""

from __future__ import annotations

import bisect
import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from tuner.errors import ConfigError
from tuner.records import EvalSpec, OptimizerSpec, Precision, RunSpec
from tuner.training.schedule import learning_rates
from tuner.workloads.permutation import PERMUTATION_VERSION

RECIPE_VERSION = 1
"""Rises when the core's arithmetic changes: losses, groups, clipping, seeding of dropout, scaling of fp16."""

EVALUATION_VERSION = 1
"""Rises when sums, samples or derived metrics of evaluations change."""

_GROUPS = "no decay on biases, norms and 1-d parameters"
_SETTINGS = {"adamw": ("weight_decay", "beta1", "beta2", "epsilon"), "sgd": ("weight_decay", "momentum")}


def static_recipe(spec: RunSpec, workload_recipe: Mapping[str, Any]) -> dict[str, Any]:
    """The part of the recipe that is the same at every step, as JSON values.

    `workload_recipe` is the workload's `recipe()`, which holds the run's `workload_options` in effect.
    """
    import torch  # Only here: keys are told apart where nothing is trained, too.

    return {
        "recipe_version": RECIPE_VERSION,
        "permutation_version": PERMUTATION_VERSION,
        "seed": spec.seed,
        "workload": dict(workload_recipe),
        "optimizer": _optimizer_settings(spec.optimizer),
        "global_batch_size": spec.global_batch_size,
        "max_grad_norm": spec.max_grad_norm,
        "precision": spec.precision,
        # Builds of one version ("+cpu") belong to the numerics.
        "versions": {"torch": torch.__version__.partition("+")[0]},
    }


def static_digest(spec: RunSpec, workload_recipe: Mapping[str, Any]) -> str:
    """SHA-256 of the static recipe."""
    return _sha256(static_recipe(spec, workload_recipe))


class RecipeKeys:
    """Recipe keys of one run, by step: sha256(static digest || learning_rates[:step] as little-endian float64)."""

    def __init__(self, static_digest: str, spec: RunSpec) -> None:
        self._rates = learning_rates(spec, 0, spec.max_train_steps).astype("<f8")
        self._steps = [0]
        self._hashes = [hashlib.sha256(bytes.fromhex(static_digest))]

    def key_at(self, step: int) -> str:
        """The key of the weights after `step` updates.

        Hashing goes on from the nearest step asked before, so that asking for many steps is one pass over the rates.
        """
        if not 0 <= step <= len(self._rates):
            raise ValueError(f"step {step} is not within 0 to max_train_steps={len(self._rates)}")
        place = bisect.bisect_right(self._steps, step) - 1
        known = self._steps[place]
        if known != step:
            running = self._hashes[place].copy()
            running.update(self._rates[known:step].tobytes())
            place += 1
            self._steps.insert(place, step)
            self._hashes.insert(place, running)
        return self._hashes[place].hexdigest()


def eval_key(eval_spec: EvalSpec, workload_recipe: Mapping[str, Any], precision: Precision) -> str:
    """Names what a curve's values mean: curves with equal keys may be joined (D7)."""
    measured = asdict(eval_spec)
    if not eval_spec.averaged_horizons:
        del measured["averaged_horizons"]  # Such keys are those of before there were averages.
    return _sha256(
        {
            "evaluation_version": EVALUATION_VERSION,
            "permutation_version": PERMUTATION_VERSION,
            "spec": measured,
            "workload": dict(workload_recipe),
            "precision": precision,
        }
    )


def _optimizer_settings(optimizer: OptimizerSpec) -> dict[str, Any]:
    values = asdict(optimizer)
    return {"name": optimizer.name, "groups": _GROUPS, **{name: values[name] for name in _SETTINGS[optimizer.name]}}


def _sha256(value: Mapping[str, Any]) -> str:
    try:
        text = json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)
    except (TypeError, ValueError) as error:
        raise ConfigError(
            f"the workload's recipe() must hold JSON values only ({error}); use numbers, strings, lists and dicts"
        ) from None
    return hashlib.sha256(text.encode()).hexdigest()
