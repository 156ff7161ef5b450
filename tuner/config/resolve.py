"""Small values that follow from a config: directions, thresholds, and the records the other layers are handed.

Defaults that depend on other settings are worked out here and nowhere else.
"""

from __future__ import annotations

from dataclasses import replace

from tuner.config.schema import StudyConfig
from tuner.errors import ConfigError
from tuner.records import Direction, EvalSpec, ExecutionSpec, FitRule

KNOWN_DIRECTIONS: dict[str, Direction] = {
    "loss": "minimize",
    "perplexity": "minimize",
    "error": "minimize",
    "accuracy": "maximize",
}
DEFAULT_FIT = FitRule("error", 0.01)
"""Perfect training performance of a classifier; the playbook says zero (PROTOCOL.md 2)."""

CHECKPOINT_EVERY_STEPS = 100
"""Where evaluations are at every step: a full state at every second one would be most of the work."""

LOSSES = ("loss", "perplexity")
"""Metrics without a natural perfect value: a study of one of them may go without a threshold."""


def direction(config: StudyConfig) -> Direction:
    """Whether the objective is to fall or to rise.

    Raises:
        ConfigError: for a metric of unknown direction.
    """
    metric = config.evaluation.metric
    found = config.evaluation.direction or KNOWN_DIRECTIONS.get(metric)
    if found is None:
        raise ConfigError(
            f"evaluation.direction: missing; {metric} may rise or fall as it gets better: add minimize or maximize"
        )
    return found


def eval_spec(config: StudyConfig) -> EvalSpec:
    """What every evaluation of the study's rounds measures, and so of all that forks from their runs (D7)."""
    evaluation = config.evaluation
    return EvalSpec(
        metric=evaluation.metric,
        direction=direction(config),
        batch_size=evaluation.batch_size,
        num_train_examples=evaluation.train_sample,
        max_validation_examples=evaluation.max_validation_examples,
        averaged_horizons=evaluation.averaged_horizons,
    )


def plain_eval_spec(config: StudyConfig) -> EvalSpec:
    """What evaluations measure where no model is chosen, in the sweep and what forks from it: no averaged weights."""
    return replace(eval_spec(config), averaged_horizons=())


def execution_spec(config: StudyConfig, *, device: str, eval_every_steps: int) -> ExecutionSpec:
    """How a run of the given evaluation cadence is carried out on `device`.

    Checkpoints are written at every second evaluation unless the study says otherwise, and every 100 updates where each
    update is evaluated. Micro-batches are the whole batch unless the study says a size.
    """
    execution = config.execution
    every, micro = execution.checkpoint_every_steps, execution.micro_batch_size
    auto = 2 * eval_every_steps if eval_every_steps > 1 else CHECKPOINT_EVERY_STEPS
    return ExecutionSpec(
        device=device,
        torch_threads=execution.torch_threads,
        micro_batch_size=micro if isinstance(micro, int) else config.training.global_batch_size,
        checkpoint_every_steps=auto if every == "auto" else every,
        log_every_steps=execution.log_every_steps,
        save_total_limit=execution.save_total_limit,
    )


def perfect_fit(config: StudyConfig) -> FitRule | None:
    """Perfect training performance as the sweep looks for it; for classifiers a training error of at most 1 %.

    None where there is none to look for: a study of loss that states none, or one whose `workload_kind` says that its
    training set is not fitted.

    Raises:
        ConfigError: if the study states none and its metric is of another kind.
    """
    if config.workload_kind in ("saturated", "compute_bound"):
        return None
    stated = config.budget.perfect_fit
    if stated is not None:
        return FitRule(stated.metric, stated.at_most)
    if config.evaluation.metric in ("error", "accuracy"):
        return DEFAULT_FIT
    if config.evaluation.metric in LOSSES and config.workload_kind == "auto":
        return None
    raise ConfigError("budget.perfect_fit: missing; state it: perfect_fit: {metric: loss, at_most: ...}")
