"""The study YAML as frozen pydantic models: one class per section, one line per setting.

Every setting says what a change of it on an existing study means (D8): `recipe` decides the weights, `decision` decides
what the protocol does, `execution` how it is carried out, `presentation` how it is shown.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field, model_validator

Change = Literal["recipe", "decision", "execution", "presentation"]
CHANGES: tuple[Change, ...] = get_args(Change)


def setting(default: Any = ..., *, change: Change, description: str, **rules: Any) -> Any:
    """A field with its default, what a change of it means on an existing study, and its one-line description."""
    return Field(default, description=description, json_schema_extra={"change": change}, **rules)


class Section(BaseModel):
    """A mapping of the YAML: immutable, unknown keys refused, numbers not taken from strings."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=False, allow_inf_nan=False)


Positive = Annotated[int, Field(ge=1)]


class Split(Section):
    """Shares of the documents; the rest is the training set. The caps cut after the split, in tokens."""

    validation: float = setting(0.1, change="recipe", description="share of documents for validation", gt=0, lt=1)
    test: float = setting(0.1, change="recipe", description="share of documents for the test set", gt=0, lt=1)
    max_train_tokens: Positive | None = setting(None, change="recipe", description="train on at most so many tokens")
    max_validation_tokens: Positive | None = setting(
        None, change="recipe", description="validate on at most so many tokens"
    )
    max_test_tokens: Positive | None = setting(None, change="recipe", description="test on at most so many tokens")


class CausalModel(Section):
    """A language model from scratch, in the names of transformers' configs."""

    architecture: Literal["gpt2", "llama"] = setting("gpt2", change="recipe", description="model family")
    hidden_size: Positive = setting(64, change="recipe", description="width; must divide by num_heads")
    num_layers: Positive = setting(2, change="recipe", description="transformer blocks")
    num_heads: Positive = setting(2, change="recipe", description="attention heads")
    num_key_value_heads: Positive | None = setting(
        None, change="recipe", description="llama: heads of keys and values; must divide num_heads; default: num_heads"
    )
    intermediate_size: Positive | None = setting(
        None,
        change="recipe",
        description="width of the MLP; default 4 x hidden_size, for llama's gated one two thirds of that",
    )
    max_position_embeddings: Positive | None = setting(None, change="recipe", description="default: block_size")
    dropout: float = setting(
        0.0,
        change="recipe",
        description="gpt2: embedding, attention and residual dropout; llama: attention dropout, the only one it has",
        ge=0,
        lt=1,
    )

    @model_validator(mode="after")
    def _heads_divide(self) -> CausalModel:
        if self.hidden_size % self.num_heads:
            raise ValueError(
                f"hidden_size={self.hidden_size} does not divide by num_heads={self.num_heads}; "
                f"use a hidden_size that is a multiple of {self.num_heads}, or another num_heads"
            )
        return self


class CausalLMWorkload(Section):
    """A causal language model trained from scratch on text."""

    kind: Literal["causal_lm"] = setting(change="recipe", description="kind of workload")
    text: str | tuple[str, ...] = setting(
        change="recipe",
        description="files, globs (relative to the YAML), or python:module:attribute; one document each",
    )
    text_column: str | None = setting(
        None, change="recipe", description="text names tables (.csv, .jsonl, .parquet): this column, a document per row"
    )
    num_pieces: Positive = setting(
        1,
        change="recipe",
        description="cut each document at line ends into so many, so that one long text can be split",
    )
    tokenizer: Literal["bytes", "bpe"] = setting(
        "bytes",
        change="recipe",
        description="bytes: 256 byte values and an end-of-document token; bpe: pairs learnt from the training "
        "documents alone. Loss and perplexity are per token: values under different tokenizers do not compare",
    )
    vocab_size: Annotated[int, Field(gt=257)] | None = setting(
        None, change="recipe", description="bpe: number of tokens, bytes and end of document included"
    )
    block_size: Annotated[int, Field(ge=2)] = setting(64, change="recipe", description="tokens per training example")
    model: CausalModel = setting(CausalModel(), change="recipe", description="the architecture")
    split: Split = setting(Split(), change="recipe", description="train, validation and test documents")

    @model_validator(mode="after")
    def _positions_suffice(self) -> CausalLMWorkload:
        positions = self.model.max_position_embeddings
        if positions is not None and positions < self.block_size:
            raise ValueError(
                f"max_position_embeddings={positions} is smaller than block_size={self.block_size}; "
                f"raise it to {self.block_size} or shorten block_size"
            )
        return self


class PythonWorkload(Section):
    """A user's own workload class: any torch model, data and metric."""

    kind: Literal["python"] = setting(change="recipe", description="kind of workload")
    class_: str = Field(
        alias="class",
        pattern=r"^[\w.]+:\w+$",
        description="module:Class, importable from the YAML's folder",
        json_schema_extra={"change": "recipe"},
    )
    options: dict[str, Any] = setting(default={}, change="recipe", description="keyword arguments of the class")


Workload = Annotated[CausalLMWorkload | PythonWorkload, Field(discriminator="kind")]


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
        description="compute-bound: the length of the real run, which round 2 has; round 1 gets 10 % of it; default: "
        "what limits.run_hours buys",
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
        description="the whole study, without interruptions; cut first: seeds, then points, then whole phases",
        gt=0,
    )
    run_hours: float | None = setting(
        None,
        change="decision",
        description="compute-bound: the longest that one run may take; buys steps at the sweep's measured step time",
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
    num_rates: Annotated[int, Field(ge=3)] = setting(5, change="decision", description="points, both ends included")

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
    max_widenings: Annotated[int, Field(ge=0)] = setting(
        3, change="decision", description="times the grid may grow past its edge"
    )
    stop_when_dominated: bool = setting(
        True, change="decision", description="stop rates that can no longer be the fastest"
    )


class Dimension(Section):
    """One searched hyperparameter: a range (`low`, `high`, `scale`) or `choices`."""

    low: float | None = setting(None, change="decision", description="smallest value")
    high: float | None = setting(None, change="decision", description="largest value")
    scale: Literal["linear", "log", "one_minus_log"] = setting(
        "linear", change="decision", description="one_minus_log: 1 - x in log scale, for betas"
    )
    integer: bool = setting(False, change="decision", description="whole numbers only")
    choices: tuple[float | int | str | bool, ...] | None = setting(
        None, change="decision", description="a list instead of a range"
    )
    num_points: Annotated[int, Field(ge=2)] | None = setting(
        None, change="decision", description="points along a range, both ends included; for round_1.sampler: grid"
    )

    @model_validator(mode="after")
    def _is_range_or_choices(self) -> Dimension:
        if self.choices is not None:
            if self.low is not None or self.high is not None:
                raise ValueError("has choices and a range; keep one of them")
            if not self.choices:
                raise ValueError("choices=[] is empty; list at least one value")
            return self
        if self.low is None or self.high is None:
            raise ValueError("needs low and high, or choices; add them")
        if self.low >= self.high:
            raise ValueError(f"low={self.low:g} is not below high={self.high:g}; swap them or widen the range")
        if self.scale == "log" and self.low <= 0:
            raise ValueError(f"low={self.low:g} cannot be drawn in log scale; use a positive low or scale: linear")
        if self.scale == "one_minus_log" and self.high >= 1:
            raise ValueError(f"high={self.high:g} cannot be drawn with scale one_minus_log; use a high below 1")
        return self


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
        "beyond it, once, up to three times as far; not for a grid, choices or other scales than log",
    )
    adjust: Literal["probe", "raw", "none"] = setting(
        "probe",
        change="decision",
        description="when best steps are late: probe: the best three train twice as long, and their gain decides; "
        "raw: that alone counts as too short; none: undecided (decay-confounded)",
    )
    min_gain: float = setting(
        0.01,
        change="decision",
        description="gain that is worth twice the budget, as a share of the value; the probe's mean must exceed it",
        ge=0,
    )
    max_adjustments: Annotated[int, Field(ge=0)] = setting(
        2, change="decision", description="doublings of the budget after the sweep"
    )
    decay_shares: tuple[Annotated[float, Field(gt=0, le=0.5)], ...] = setting(
        (0.1, 0.2, 0.4),
        change="decision",
        description="after a doubling: decays tried on the best three trials, as shares of the budget; []: none",
    )


class Round2(Section):
    """Few long trials that extend the plateau of the best points (playbook, Round 2)."""

    num_trials: Positive = setting(2, change="decision", description="best points carried over")
    num_seeds: Positive = setting(
        2, change="decision", description="seeds per point; each further seed is a trunk of its own"
    )
    budget_multiple: Annotated[float, Field(ge=1)] | Literal["auto"] = setting(
        "auto",
        change="decision",
        description="budget as a multiple of round 1's; auto: 1 if that was found long enough (replication), else 2",
    )
    lower_rate_twin: bool = setting(
        True, change="decision", description="the best point also at half its rate, if the budget grew: one more run"
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
    micro_batch_size: Positive | None = setting(
        None,
        change="execution",
        description="examples per forward pass; must divide global_batch_size; default: all of it",
    )
    checkpoint_every_steps: Positive | Literal["auto"] = setting(
        "auto", change="execution", description="full-state checkpoints; auto: every second evaluation"
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
    search_space: dict[str, Dimension] | Literal["auto"] = setting(
        change="decision",
        description="what rounds search; auto: chosen by round_1.num_trials, rates around the best of the sweep",
    )
    round_1: Round1 = setting(Round1(), change="decision", description="second phase")
    round_2: Round2 | None = setting(Round2(), change="decision", description="third phase; null: stop after round 1")
    execution: Execution = setting(Execution(), change="execution", description="how it is carried out")

    @property
    def given_space(self) -> dict[str, Dimension]:
        """The search space as the user gave it; empty for `auto`, which is known only after the sweep."""
        return {} if isinstance(self.search_space, str) else self.search_space

    @model_validator(mode="after")
    def _micro_batch_divides(self) -> StudyConfig:
        micro, batch = self.execution.micro_batch_size, self.training.global_batch_size
        if micro is not None and batch % micro:
            raise ValueError(
                f"execution.micro_batch_size={micro} does not divide training.global_batch_size={batch}; "
                f"use a divisor of {batch}"
            )
        return self
