"""From the config and a point to the run of one trial: every `auto` becomes a number here, and nowhere else.

Runs of one study that share a past must agree in every number up to where they part. So a later phase's run is made
from the earlier one by lengthening it, never from the config again.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from typing import Literal

from tuner.config.schema import StudyConfig
from tuner.config.spaces import setting_of
from tuner.errors import ConfigError
from tuner.records import (
    OptimizerSpec,
    Params,
    PhasePlan,
    RunSpec,
    ScheduleSpec,
    TrialPlan,
    Value,
    WorkloadFacts,
)

OptimizerName = Literal["adamw", "sgd"]

MAX_AUTO_WARMUP_STEPS = 100
AUTO_WARMUP_DIVISOR = 20
AUTO_EVALUATIONS = 25

TRAINING_SETTINGS = frozenset(
    {"optimizer", "learning_rate", "weight_decay", "beta1", "beta2", "epsilon", "momentum", "max_grad_norm"}
)
"""Hyperparameters that the training core knows; any other name is an option of the workload."""

REGULARISERS = ("dropout", "label_smoothing")
"""Options of a workload that the sweep sets to zero; weight decay is switched off beside them."""


def warmup_steps(config: StudyConfig, budget: int) -> int:
    """Updates of warmup for a first budget: the setting, or the smaller of 100 and 5 % of the budget (ours)."""
    chosen = config.training.warmup_steps
    return min(MAX_AUTO_WARMUP_STEPS, budget // AUTO_WARMUP_DIVISOR) if chosen == "auto" else chosen


def decay_steps(config: StudyConfig, budget: int) -> int:
    """Updates of decay for a first budget, at least one."""
    return max(1, round(config.training.decay_share * budget)) if has_plateau(config) else 0


def has_plateau(config: StudyConfig) -> bool:
    """Whether longer runs of a round can go on from shorter ones; linear and cosine share the warmup."""
    return config.training.schedule == "warmup_stable_decay"


def eval_cadence(config: StudyConfig, budget: int) -> int:
    """Updates between evaluations for a first budget: the setting, or a 25th of the budget."""
    chosen = config.evaluation.every_steps
    return max(1, budget // AUTO_EVALUATIONS) if chosen == "auto" else chosen


def longer_cadence(config: StudyConfig, spec: RunSpec, budget: int) -> int:
    """The cadence of the same run at another budget.

    A longer run's is a whole multiple, so that the shorter one has measured each of its steps (D7).
    """
    if config.evaluation.every_steps != "auto":
        return config.evaluation.every_steps
    if budget < spec.max_train_steps:
        return eval_cadence(config, budget)
    return spec.eval_every_steps * (budget // spec.max_train_steps)


def trial_seed(seed: int, index: int) -> int:
    """The seed of a point's replica: the study's own for the first, which so shares its trunk with earlier rounds."""
    if index == 0:
        return seed
    digest = hashlib.sha256(f"{seed}/{index}".encode()).digest()
    return int.from_bytes(digest[:4], "big") >> 1


def switched_off(facts: WorkloadFacts) -> dict[str, Value]:
    """The workload's regularisers, switched off as it says itself, or those of the usual names at zero."""
    if facts.regularisers_off is not None:
        return dict(facts.regularisers_off)
    return {name: 0.0 for name in REGULARISERS if name in facts.hyperparameters}


def sweep_trial(
    config: StudyConfig, facts: WorkloadFacts, *, number: int, learning_rate: float, max_train_steps: int
) -> TrialPlan:
    """A trial of the sweep: constant rate after the default warmup, no regularisation (playbook, Step 1a).

    Warmup and cadence follow from `first_guess_steps`, not from the rung: so no rung repeats a step.
    """
    first_guess = config.budget.first_guess_steps
    spec = RunSpec(
        seed=config.seed,
        max_train_steps=max_train_steps,
        learning_rate=learning_rate,
        schedule=ScheduleSpec(kind="constant", warmup_steps=warmup_steps(config, first_guess)),
        optimizer=_optimizer(config, {"weight_decay": 0.0}),
        max_grad_norm=config.training.max_grad_norm,
        precision=config.training.precision,
        global_batch_size=config.training.global_batch_size,
        eval_every_steps=eval_cadence(config, first_guess),
        workload_options=switched_off(facts),
    )
    return TrialPlan(number=number, params={"learning_rate": learning_rate}, spec=spec)


def round_trials(
    config: StudyConfig, facts: WorkloadFacts, plan: PhasePlan, points: Sequence[Params], *, first: int = 0
) -> tuple[TrialPlan, ...]:
    """The trials of round 1 at the points that the search proposed, numbered in their order from `first`.

    Raises:
        ConfigError: if a point has no learning rate and the config gives none, or a name belongs to nobody.
    """
    check_names(config, facts)
    budget = plan.max_train_steps
    decay = decay_steps(config, budget)
    schedule = ScheduleSpec(
        kind=config.training.schedule,
        warmup_steps=warmup_steps(config, budget),
        decay_steps=decay,
        decay_shape=config.training.decay_shape,
    )
    return tuple(
        TrialPlan(number=number, params=dict(point), spec=_round_spec(config, point, schedule=schedule, budget=budget))
        for number, point in enumerate(points, first)
    )


def lengthened(config: StudyConfig, spec: RunSpec, *, max_train_steps: int, seed: int | None = None) -> RunSpec:
    """The same run at another budget: same warmup, same decay length, a longer plateau (PROTOCOL 8).

    Without a plateau the same peak rate over a stretched horizon.
    """
    return replace(
        spec,
        max_train_steps=max_train_steps,
        seed=spec.seed if seed is None else seed,
        eval_every_steps=longer_cadence(config, spec, max_train_steps),
        fork_steps=_fork_steps(spec.schedule, max_train_steps),
    )


def doubled(config: StudyConfig, spec: RunSpec, *, max_train_steps: int) -> RunSpec:
    """The run of a doubled round and of its probe, equal in both: lengthened, with full states where decays may part.

    The decay of a doubled round may be tuned anew; then its trunk is left at the start of each decay tried.
    """
    longer = lengthened(config, spec, max_train_steps=max_train_steps)
    if config.round_1.adjust == "none":
        return longer
    # The first update of a decay still runs at the peak rate: it is shared.
    parted = {max_train_steps - length + 1 for length in retuned_decays(config, longer)}
    own = max_train_steps - longer.schedule.decay_steps
    return replace(longer, fork_steps=tuple(sorted({*longer.fork_steps, *(step for step in parted if step < own)})))


def retuned_decays(config: StudyConfig, spec: RunSpec) -> tuple[int, ...]:
    """Decay lengths other than a run's own that `round_1.decay_shares` asks for at its budget, rising.

    A decay starts at an evaluation of the run, so that its trunk has measured all that the fork would have (D7). A
    share within one evaluation interval of the run's own decay stands for it.
    """
    if not has_plateau(config):
        return ()
    budget, every = spec.max_train_steps, spec.eval_every_steps
    lengths = set()
    for share in config.round_1.decay_shares:
        if abs(share * budget - spec.schedule.decay_steps) <= every:
            continue
        start = every * round((1 - share) * budget / every)
        if spec.schedule.warmup_steps < start < budget:
            lengths.add(budget - start)
    return tuple(sorted(lengths - {spec.schedule.decay_steps}))


def check_names(config: StudyConfig, facts: WorkloadFacts) -> None:
    """Refuse a search space that names what neither the training core nor the workload knows."""
    known = TRAINING_SETTINGS | set(facts.hyperparameters)
    for name in map(setting_of, config.given_space):
        if name not in known:
            raise ConfigError(
                f"search_space.{name}: neither a setting of training nor an option of the workload; "
                f"remove it or use one of {', '.join(sorted(known))}"
            )


def check_schedule(warmup: int, decay: int, *, budget: int, budget_name: str) -> str | None:
    """Why a schedule does not fit a budget, in one line with the remedy; None if it fits."""
    if warmup + decay <= budget:
        return None
    if not decay:
        return f"training.warmup_steps={warmup} is longer than {budget_name}={budget}; lower training.warmup_steps"
    return (
        f"training.warmup_steps={warmup} plus a decay of {decay} steps is longer than {budget_name}={budget}; "
        "lower training.warmup_steps or training.decay_share"
    )


def check_first_guess(config: StudyConfig) -> None:
    """Refuse a warmup that outlasts the sweep's first rung."""
    budget = config.budget.first_guess_steps
    warmup = warmup_steps(config, budget)
    if warmup > budget:
        raise ConfigError(
            f"training.warmup_steps={warmup} is longer than budget.first_guess_steps={budget}, the sweep's first rung; "
            "shorten the warmup or raise first_guess_steps"
        )


def number_in(params: Params, name: str, default: float) -> float:
    """A numeric hyperparameter of a point.

    Raises:
        ConfigError: if the search space proposed something that is no number.
    """
    value = params.get(name, default)
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ConfigError(f"search_space.{name}: {value!r} is not a number; use numbers in its range or choices")
    return float(value)


def _round_spec(config: StudyConfig, point: Params, *, schedule: ScheduleSpec, budget: int) -> RunSpec:
    if "learning_rate" not in point and config.training.learning_rate is None:
        raise ConfigError("training.learning_rate: null, but search_space has no learning_rate; set one of the two")
    clip = point.get("max_grad_norm", config.training.max_grad_norm)
    return RunSpec(
        seed=trial_seed(config.seed, 0),
        max_train_steps=budget,
        learning_rate=number_in(point, "learning_rate", config.training.learning_rate or 0.0),
        schedule=schedule,
        optimizer=_optimizer(config, point),
        max_grad_norm=None if clip is None else number_in({"max_grad_norm": clip}, "max_grad_norm", 0.0),
        precision=config.training.precision,
        global_batch_size=config.training.global_batch_size,
        eval_every_steps=eval_cadence(config, budget),
        fork_steps=_fork_steps(schedule, budget),
        workload_options={name: value for name, value in point.items() if name not in TRAINING_SETTINGS},
    )


def _fork_steps(schedule: ScheduleSpec, budget: int) -> tuple[int, ...]:
    """Where a longer run parts from this one: the decay's start, unless that is the run's own."""
    decay_start = budget - schedule.decay_steps
    return (decay_start,) if 0 < decay_start < budget else ()


def _optimizer(config: StudyConfig, point: Params) -> OptimizerSpec:
    training = config.training
    return OptimizerSpec(
        name=_optimizer_name(point.get("optimizer", training.optimizer)),
        weight_decay=number_in(point, "weight_decay", training.weight_decay),
        beta1=number_in(point, "beta1", training.beta1),
        beta2=number_in(point, "beta2", training.beta2),
        epsilon=number_in(point, "epsilon", training.epsilon),
        momentum=number_in(point, "momentum", training.momentum),
    )


def _optimizer_name(value: Value) -> OptimizerName:
    known: dict[Value, OptimizerName] = {"adamw": "adamw", "sgd": "sgd"}
    if value not in known:
        raise ConfigError(f"search_space.optimizer: {value!r} is not an optimizer; use {' or '.join(map(str, known))}")
    return known[value]
