"""From the study's `workload` section to a workload that the training core can trust.

The one rule: whatever a user's class gets wrong is found here, once, with a message; the core never checks again.
Class, source, effective options and versions join the recipe here, so that no user class can forget them.
"""

from __future__ import annotations

import difflib
import inspect
import json
import math
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from tuner.config.schema import CausalLMWorkload, PythonWorkload
from tuner.errors import ConfigError, DataError
from tuner.records import TEST, TRAIN_SAMPLE, VALIDATION, Value
from tuner.workloads.interface import Batch, Workload
from tuner.workloads.user_code import load_object, source_digest

REGULARISERS = (
    "dropout",
    "attention_dropout",
    "hidden_dropout",
    "drop_path",
    "stochastic_depth",
    "label_smoothing",
    "weight_noise",
    "input_noise",
    "mixup",
    "cutmix",
    "augment",
    "augmentation",
)
"""Options that the sweep switches off where a class has them (playbook: no augmentation, no regularisation)."""

_METHODS = ("num_examples", "build_model", "batch", "num_targets", "loss_sum", "score_sums", "recipe")


def build_workload(
    config: CausalLMWorkload | PythonWorkload, options: Mapping[str, Value], *, folder: Path, cache: Path
) -> Workload:
    """The workload of one run.

    Args:
        config: the study's `workload` section.
        options: the run's own values, which override the config's (dropout, ...).
        folder: where the study's YAML lies: globs are relative to it, and its modules are found first.
        cache: where tokens are kept, shared by all trials.

    Raises:
        ConfigError: an unknown option, or a class that lacks something.
        DataError: data that cannot be trained on.
    """
    if isinstance(config, CausalLMWorkload):
        return _causal_lm(config, options, folder=folder, cache=cache)
    return _python_workload(config, options, folder)


def workload_hyperparameters(
    config: CausalLMWorkload | PythonWorkload, *, folder: Path | None = None
) -> tuple[str, ...]:
    """Names that a run's options may override: `dropout`, or the keyword parameters of the user's class."""
    if isinstance(config, CausalLMWorkload):
        return ("dropout",)
    return tuple(_parameters(_load_class(config, folder)))


def regularisers_off(config: CausalLMWorkload | PythonWorkload, *, folder: Path | None = None) -> dict[str, Value]:
    """Options that switch off every regulariser which the workload has."""
    if isinstance(config, CausalLMWorkload):
        return {"dropout": 0.0}
    parameters = _parameters(_load_class(config, folder))
    return {name: _off(parameters[name].default) for name in REGULARISERS if name in parameters}


def tokenizer_digest(workload: Workload) -> str:
    """What names the tokenizer that was learnt from the text; empty if there is none."""
    tokenizer = workload.recipe().get("tokenizer")
    return str(tokenizer["digest"]) if isinstance(tokenizer, dict) else ""


def constant_loss(workload: Workload, split: str, indices: NDArray[np.int64]) -> float | None:
    """The loss of a constant predictor on these examples; None where the workload does not tell it.

    Raises:
        ConfigError: what a user's class tells is no finite number.
    """
    tell = getattr(workload, "constant_loss", None)
    value = None if tell is None else tell(split, indices)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float | np.number) or not math.isfinite(value):
        raise ConfigError(
            f"workload.class: constant_loss({split!r}, ...) returned {value!r}; return the loss per target of the best "
            "constant prediction as a number, or None if it is unknown"
        )
    return float(value)


class DeclaredWorkload:
    """A user's workload with its provenance added to the recipe."""

    def __init__(self, workload: Workload, provenance: Mapping[str, Any]) -> None:
        self._workload = workload
        self._provenance = dict(provenance)
        self.metrics = tuple(workload.metrics)

    def num_examples(self, split: str) -> int:
        return self._workload.num_examples(split)

    def build_model(self) -> torch.nn.Module:
        return self._workload.build_model()

    def batch(self, split: str, indices: NDArray[np.int64]) -> Batch:
        return self._workload.batch(split, indices)

    def num_targets(self, batch: Batch) -> int:
        return self._workload.num_targets(batch)

    def loss_sum(self, model: torch.nn.Module, batch: Batch) -> torch.Tensor:
        return self._workload.loss_sum(model, batch)

    def score_sums(self, model: torch.nn.Module, batch: Batch) -> Mapping[str, torch.Tensor]:
        return self._workload.score_sums(model, batch)

    def constant_loss(self, split: str, indices: NDArray[np.int64]) -> float | None:
        tell = getattr(self._workload, "constant_loss", None)
        return None if tell is None else tell(split, indices)

    def recipe(self) -> Mapping[str, Any]:
        return {"kind": "python", "own": dict(self._workload.recipe()), **self._provenance}


def _causal_lm(config: CausalLMWorkload, options: Mapping[str, Value], *, folder: Path, cache: Path) -> Workload:
    # Transformers' models take seconds to import, which a python workload should not pay.
    from tuner.workloads.causal_lm import CausalLM
    from tuner.workloads.text import load_tokens

    for name in options:
        if name != "dropout":
            raise _unknown(f"{name}={options[name]}", name, ("dropout",), "causal_lm")
    dropout = options.get("dropout")
    if dropout is not None and (isinstance(dropout, bool | str) or not 0 <= dropout < 1):
        raise ConfigError(f"dropout={dropout} is not a rate; use a number from 0 up to, but not including, 1")
    return CausalLM(
        config, load_tokens(config, folder=folder, cache=cache), dropout=None if dropout is None else float(dropout)
    )


def _python_workload(config: PythonWorkload, options: Mapping[str, Value], folder: Path) -> Workload:
    cls = _load_class(config, folder)
    given = {**config.options, **options}
    bound = _bind(config.class_, cls, given)
    workload = cls(**given)
    _check(config.class_, workload)
    provenance = {
        "class": config.class_,
        "source": source_digest(sys.modules[cls.__module__]),
        "options": bound,
        "versions": {"numpy": np.__version__},
    }
    declared = DeclaredWorkload(workload, provenance)
    _check_recipe(config.class_, declared)
    return declared


def _load_class(config: PythonWorkload, folder: Path | None) -> Any:
    cls = load_object(config.class_, setting="workload.class", folder=folder)
    if not inspect.isclass(cls):
        raise ConfigError(f"workload.class={config.class_} is a {type(cls).__name__}; name a class")
    missing = sorted(getattr(cls, "__abstractmethods__", ())) or [
        name for name in _METHODS if not callable(getattr(cls, name, None))
    ]
    if missing:
        raise ConfigError(
            f"workload.class={config.class_} lacks {', '.join(missing)}; "
            "tuner/workloads/interface.py says what each must do"
        )
    return cls


def _parameters(cls: Any) -> dict[str, inspect.Parameter]:
    if cls.__init__ is object.__init__:
        return {}
    kinds = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    return {name: parameter for name, parameter in inspect.signature(cls).parameters.items() if parameter.kind in kinds}


def _bind(name: str, cls: Any, given: Mapping[str, Any]) -> dict[str, Any]:
    """All options with their defaults, so that an option left out and one given at its default are one recipe."""
    parameters = _parameters(cls)
    takes_any = any(p.kind is inspect.Parameter.VAR_KEYWORD for p in inspect.signature(cls).parameters.values())
    for option in given:
        if option not in parameters and not takes_any:
            raise _unknown(f"workload.options.{option}={given[option]}", option, tuple(parameters), name)
    unset = [key for key, p in parameters.items() if p.default is inspect.Parameter.empty and key not in given]
    if unset:
        raise ConfigError(f"workload.options: {name} needs {', '.join(unset)}; set them there")
    return {**{key: p.default for key, p in parameters.items()}, **given}


def _off(default: Any) -> Value:
    if default is None or isinstance(default, bool):
        return None if default is None else False
    return 0.0


def _unknown(shown: str, option: str, known: tuple[str, ...], owner: str) -> ConfigError:
    close = difflib.get_close_matches(option, known, n=1)
    remedy = f"did you mean {close[0]}?" if close else f"it takes {', '.join(known) or 'no options'}"
    return ConfigError(f"{shown}: {owner} has no such option; {remedy}")


def _check(name: str, workload: Any) -> None:
    metrics = getattr(workload, "metrics", None)
    if not isinstance(metrics, tuple | list) or "loss" not in metrics:
        raise ConfigError(
            f"workload.class={name} has metrics={metrics!r}; it must be a tuple of names that holds 'loss'"
        )
    for split in (TRAIN_SAMPLE, VALIDATION, TEST):
        count = workload.num_examples(split)
        if not isinstance(count, int | np.integer) or count < 1:
            raise DataError(
                f"workload.class={name}: num_examples({split!r}) is {count!r}; each split needs at least one example"
            )


def _check_recipe(name: str, workload: Workload) -> None:
    try:
        json.dumps(workload.recipe(), allow_nan=False)
    except (TypeError, ValueError) as error:
        raise ConfigError(
            f"workload.class={name}: its options and recipe() must be JSON values ({error}); "
            "use numbers, strings, lists and dicts"
        ) from None
