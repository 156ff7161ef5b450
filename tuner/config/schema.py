"""The study YAML as frozen pydantic models: one class per section, one line per setting.

The rule of every setting is in `section.py`; the `workload` section has a file of its own.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from tuner.config.dimension import Dimension as Dimension
from tuner.config.dimension import Dimensions
from tuner.config.frontier_schema import Frontier as Frontier
from tuner.config.section import CHANGES as CHANGES
from tuner.config.section import Change as Change
from tuner.config.section import Positive, setting
from tuner.config.section import Section as Section
from tuner.config.spaces import flat_space
from tuner.config.workload_schema import CausalLMWorkload as CausalLMWorkload
from tuner.config.workload_schema import CausalModel as CausalModel
from tuner.config.workload_schema import PythonWorkload as PythonWorkload
from tuner.config.workload_schema import Split as Split
from tuner.config.workload_schema import Workload as Workload

MOST_ADJUSTMENTS = 20


class Training(Section):
    """What one training run does; settings named in `search_space` are replaced by the trial's values."""

    optimizer: Literal["adamw", "sgd"] = setting("adamw", change="recipe", description="optimizer")
    learning_rate: float | None = setting(None, change="recipe", description="peak rate, unless it is searched", gt=0)
    beta1: float = setting(0.9, change="recipe", description="adamw", ge=0, lt=1)
    beta2: float = setting(0.999, change="recipe", description="adamw", ge=0, lt=1)
    epsilon: float = setting(1e-8, change="recipe", description="adamw", gt=0)
    momentum: float = setting(0.9, change="recipe", description="sgd", ge=0, lt=1)
    weight_decay: float = setting(0.01, change="recipe", description="not on biases, norms and 1-d parameters", ge=0)
    max_grad_norm: float | None = setting(
        1.0, change="recipe", description="clip the gradient norm; null: do not clip", gt=0
    )
    precision: Literal["fp32", "bf16", "fp16"] = setting("fp32", change="recipe", description="autocast precision")
    global_batch_size: Positive = setting(16, change="recipe", description="examples per update over all devices")
    warmup_steps: Annotated[int, Field(ge=0)] | Literal["auto"] = setting(
        "auto",
        change="recipe",
        description="updates of linear warmup; auto: the smaller of 100 and 5 % of the first budget",
    )
    schedule: Literal["warmup_stable_decay", "linear", "cosine"] = setting(
        "warmup_stable_decay",
        change="decision",
        description="of the rounds; linear and cosine decay from warmup to the end: without a plateau, longer rounds "
        "train anew",
    )
    decay_share: float = setting(
        0.2, change="decision", description="length of the decay as a share of round 1's budget", gt=0, lt=1
    )
    decay_shape: Literal["linear", "1-sqrt", "cosine"] = setting(
        "linear", change="decision", description="shape of the decay to zero"
    )


class Evaluation(Section):
    """What is measured, on what, and how often."""

    metric: str = setting("loss", change="decision", description="objective on the validation set")
    direction: Literal["minimize", "maximize"] | None = setting(
        None,
        change="decision",
        description="default: known for loss, perplexity, error (minimize) and accuracy (maximize)",
    )
    every_steps: Positive | Literal["auto"] = setting(
        "auto", change="decision", description="auto: 25 evaluations per budget"
    )
    batch_size: Positive = setting(64, change="decision", description="examples per evaluation batch")
    train_sample: Positive = setting(
        2000, change="decision", description="examples of the fixed clean training sample, or all"
    )
    max_validation_examples: Positive | None = setting(
        None, change="decision", description="a fixed subsample; null: all"
    )
    averaged_horizons: tuple[Positive, ...] = setting(
        (50, 200),
        change="decision",
        description="exponential averages of the weights over so many updates, scored beside the weights; []: none",
    )


class PerfectFit(Section):
    """Perfect training performance, measured in eval mode on the clean training sample."""

    metric: str = setting(change="decision", description="metric on the training sample")
    at_most: float = setting(change="decision", description="reached at this value or below")


class Budget(Section):
    """Where the search for max_train_steps starts and ends."""

    first_guess_steps: Positive = setting(
        1000, change="decision", description="budget of the sweep's first rung; it doubles from here"
    )
    max_steps: Positive = setting(change="decision", description="the longest run the sweep may try")
    perfect_fit: PerfectFit | None = setting(
        None,
        change="decision",
        description="default: train error <= 0.01 for classifiers; a study of loss may state its own; without it the "
        "sweep ends where the training loss saturates",
    )
    production_steps: Positive | None = setting(
        None,
        change="decision",
        description="compute-bound: the length of the real run, which the last round has; round 1 gets 10 % of it; "
        "default: what limits.run_hours buys",
    )

    @model_validator(mode="after")
    def _guess_is_within(self) -> Budget:
        if self.first_guess_steps > self.max_steps:
            raise ValueError(
                f"first_guess_steps={self.first_guess_steps} is larger than max_steps={self.max_steps}; "
                "lower the guess or raise max_steps"
            )
        return self


class Limits(Section):
    """Hard caps on time: what does not fit is cut, in a stated order, and said so."""

    study_hours: float | None = setting(
        None,
        change="decision",
        description="the whole study, without interruptions; cut first: seeds, then points, then widenings, then whole "
        "phases; the sweep measures its rates' first evaluations before it runs on",
        gt=0,
    )
    run_hours: float | None = setting(
        None,
        change="decision",
        description="the longest that one run may take, at the measured step time: a rung, round, probe or frontier "
        "that is longer is left out; compute-bound: the length that it buys; fewer steps than budget.production_steps, "
        "or than round 1 can live on with 10 % of them, end the study",
        gt=0,
    )

    @model_validator(mode="after")
    def _run_is_within(self) -> Limits:
        if self.study_hours is not None and self.run_hours is not None and self.run_hours > self.study_hours:
            raise ValueError(
                f"run_hours={self.run_hours:g} is more than study_hours={self.study_hours:g}, which no run can take; "
                "lower run_hours or raise study_hours"
            )
        return self


class LearningRates(Section):
    """A log-spaced grid."""

    low: float = setting(change="decision", description="smallest rate", gt=0)
    high: float = setting(change="decision", description="largest rate", gt=0)
    num_rates: Annotated[int, Field(ge=3, le=1000)] = setting(
        5, change="decision", description="points, both ends included"
    )

    @model_validator(mode="after")
    def _is_range(self) -> LearningRates:
        if self.low >= self.high:
            raise ValueError(f"low={self.low:g} is not below high={self.high:g}; swap them or widen the range")
        return self


class BudgetSweep(Section):
    """The constant-rate sweep that finds the first max_train_steps (playbook, Steps 0 and 1a)."""

    learning_rates: LearningRates = setting(
        LearningRates(low=1e-4, high=1e-2), change="decision", description="the grid"
    )
    max_widenings: Annotated[int, Field(ge=0, le=20)] = setting(
        3, change="decision", description="times the grid may grow past its edge"
    )
    stop_when_dominated: bool = setting(
        True, change="decision", description="stop rates that can no longer be the fastest"
    )
    probe_instability: bool = setting(
        False,
        change="decision",
        description="after the sweep, a short run at twice the best rate, evaluated at every step: is early training "
        "stable, and if not, with which warmup? As `tuner run --probe-instability`",
    )


class Round1(Section):
    """Many short trials at the first budget (playbook, Round 1)."""

    num_trials: Positive = setting(8, change="decision", description="points of the search space")
    sampler: Literal["halton", "grid", "tpe", "gp"] = setting(
        "halton",
        change="decision",
        description="halton: scrambled, quasi-random exploration; grid: in one or two dimensions; "
        "tpe, gp: learn from the trials that ended, for exploitation or few parallel trials",
    )
    parallelism: Positive = setting(
        4,
        change="decision",
        description="tpe and gp propose so many points at a time, each knowing only the generations before: "
        "results depend neither on the workers nor on who finished first",
    )
    widen_at_edge: bool = setting(
        True,
        change="decision",
        description="when the best point is on the edge of the learning rates: a quarter more points (at least 2) "
        "beyond it, once, up to three times as far; not for a grid, choices or other scales than log, nor for rates "
        "that depend on another setting or are tuned for each scientific value, since the points would favour one",
    )
    adjust: Literal["probe", "averaged", "raw", "none"] = setting(
        "probe",
        change="decision",
        description="when best steps are late: probe: the best five train twice as long, and their gain decides; "
        "averaged: the same, but not where averaged weights had stopped to improve before the decay, and the decays "
        "show that they can tell: adequate; raw: that alone counts as too short; none: undecided (decay-confounded)",
    )
    min_gain: float = setting(
        0.01,
        change="decision",
        description="gain that is worth twice the budget, as a share of the value; the probe's mean must exceed it",
        ge=0,
    )
    max_adjustments: Annotated[int, Field(ge=0, le=MOST_ADJUSTMENTS)] = setting(
        2, change="decision", description="doublings of the budget after the sweep"
    )
    decay_shares: tuple[Annotated[float, Field(gt=0, le=0.5)], ...] = setting(
        (0.1, 0.2, 0.4),
        change="decision",
        description="after a doubling: decays tried on the best three trials, as shares of the budget; []: none",
    )


class LaterRound(Section):
    """Few long trials of the best points of the round before (playbook, Round 2)."""

    num_trials: Positive = setting(
        2, change="decision", description="best points of the round before, by their mean over seeds, that go on"
    )
    num_seeds: Positive = setting(
        2, change="decision", description="seeds per point; each further seed is a trunk of its own"
    )
    budget_multiple: Annotated[float, Field(ge=1, le=1000)] | Literal["auto"] = setting(
        "auto",
        change="decision",
        description="budget as a multiple of that of the round before; auto: 2 if longer training was shown to gain, "
        "else 1 (replication); if compute-bound, equal ratios up to the production length, which the last round has",
    )
    extend: Literal["auto", "constant", "cosine"] = setting(
        "auto",
        change="decision",
        description="where extra steps go; constant: the decay keeps its length, the plateau grows; cosine: the base "
        "rate stays, the horizon is stretched (schedule: cosine or linear); auto: as the schedule implies",
    )
    lower_rate_twin: bool = setting(
        True,
        change="decision",
        description="the best point also at half its rate, if the budget grew: one more run; not where learning_rate "
        "is scientific, since no value that the study asks about has that rate",
    )


class Execution(Section):
    """How the study is carried out on this machine."""

    workers: Positive | Literal["auto"] = setting(
        "auto", change="execution", description="auto: one per core on CPU, one per GPU"
    )
    device: Literal["auto", "cpu", "cuda"] = setting(
        "auto", change="execution", description="auto: cuda if there is one"
    )
    torch_threads: Positive = setting(1, change="execution", description="threads per worker; part of a run's numerics")
    micro_batch_size: Positive | Literal["auto"] | None = setting(
        "auto",
        change="execution",
        description="examples per forward pass; must divide global_batch_size; auto: all of it, halved when memory "
        "runs out; null: all of it",
    )
    checkpoint_every_steps: Positive | Literal["auto"] = setting(
        "auto", change="execution", description="full-state checkpoints; auto: every second evaluation"
    )
    save_total_limit: Positive = setting(
        1,
        change="execution",
        description="newest full-state checkpoints that a trial keeps, beside those for planned forks; with more than "
        "one, a damaged file costs no more than the steps since the one before",
    )
    retention: Literal["extendable", "answer"] = setting(
        "extendable",
        change="execution",
        description="checkpoints of a finished study; extendable: the newest, the last and planned forks in full, the "
        "best as weights; answer: only the best weights of the best trial of each phase",
    )
    log_every_steps: Positive = setting(20, change="presentation", description="updates between TensorBoard scalars")


class StudyConfig(Section):
    """One workload taken through the protocol."""

    study: Annotated[str, Field(min_length=1, max_length=100)] = setting(
        change="recipe", description="name of the study"
    )
    description: str = setting("", change="presentation", description="what the study is for")
    seed: Annotated[int, Field(ge=0, lt=2**31)] = setting(
        0, change="recipe", description="every random choice follows from it"
    )
    workload: Workload = setting(change="recipe", description="model, data and metric")
    workload_kind: Literal["auto", "not_compute_bound", "compute_bound", "saturated"] = setting(
        "auto",
        change="decision",
        description="how long runs may get: not_compute_bound: until the training set is fitted; saturated: until its "
        "metric stops moving; compute_bound: as long as patience lasts; auto: the sweep decides, and says why",
    )
    training: Training = setting(Training(), change="recipe", description="one training run")
    evaluation: Evaluation = setting(Evaluation(), change="decision", description="what is measured")
    budget: Budget = setting(change="decision", description="how long runs may get")
    limits: Limits = setting(Limits(), change="decision", description="what time allows")
    budget_sweep: BudgetSweep = setting(BudgetSweep(), change="decision", description="first phase")
    search_space: dict[str, Dimensions] | Literal["auto"] = setting(
        change="decision",
        description="what rounds search: one dimension per setting, or a list of them that exist in different trials; "
        "auto: chosen by round_1.num_trials, rates around the best of the sweep",
    )
    round_1: Round1 = setting(Round1(), change="decision", description="second phase")
    round_2: LaterRound | None = setting(
        LaterRound(), change="decision", description="third phase; null: stop after round 1; short for rounds: [{...}]"
    )
    rounds: tuple[LaterRound, ...] | None = setting(
        None,
        change="decision",
        description="instead of round_2: the rounds after round 1, each longer than the one before; the first is "
        "round_2, the next round_3, ... (one to three are practical)",
    )
    frontier: Frontier | None = setting(
        None, change="decision", description="last phase: what other budgets reach; null: only by `tuner frontier NAME`"
    )
    execution: Execution = setting(Execution(), change="execution", description="how it is carried out")

    @property
    def given_space(self) -> dict[str, Dimension]:
        """The search space as the user gave it, by label; empty for `auto`, which is known only after the sweep."""
        return {} if isinstance(self.search_space, str) else flat_space(self.search_space)

    @property
    def later_rounds(self) -> tuple[LaterRound, ...]:
        """The rounds after round 1, however they were written."""
        if self.rounds is not None:
            return self.rounds
        return () if self.round_2 is None else (self.round_2,)

    @model_validator(mode="before")
    @classmethod
    def _rounds_replace_round_2(cls, data: Any) -> Any:
        """With `rounds` the default of `round_2` is none, so that only a user can give both."""
        return {"round_2": None, **data} if isinstance(data, dict) and data.get("rounds") is not None else data

    @model_validator(mode="after")
    def _micro_batch_divides(self) -> StudyConfig:
        micro, batch = self.execution.micro_batch_size, self.training.global_batch_size
        if isinstance(micro, int) and batch % micro:
            raise ValueError(
                f"execution.micro_batch_size={micro} does not divide training.global_batch_size={batch}; "
                f"use a divisor of {batch}"
            )
        return self
