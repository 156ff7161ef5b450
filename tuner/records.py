"""The frozen records that the layers hand each other. Standard library only; no behaviour beyond small derived values.

`global_step` counts updates: 0 before the first, `max_train_steps` after the last.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Literal

Json = Any
Value = float | int | str | bool | None
Params = Mapping[str, Value]
Curve = tuple[tuple[int, float], ...]
"""Evaluations of one metric on one split: (global_step, value), steps rising."""

TRAIN_SAMPLE, VALIDATION, TEST, UPDATES = "train", "validation", "test", "updates"
"""Splits of `tuner_evals`: "train", the fixed clean training sample in eval mode; "updates", what they were like."""

Direction = Literal["minimize", "maximize"]
Precision = Literal["fp32", "bf16", "fp16"]
ScheduleKind = Literal["constant", "warmup_stable_decay", "linear", "cosine"]
DecayShape = Literal["linear", "1-sqrt", "cosine"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ScheduleSpec:
    """The learning rate over a run, in absolute steps; linear and cosine decay from the end of warmup to the last."""

    kind: ScheduleKind
    warmup_steps: int
    decay_steps: int = 0
    decay_shape: DecayShape = "linear"


@dataclass(frozen=True, slots=True, kw_only=True)
class OptimizerSpec:
    """Optimizer and its settings; what the chosen optimizer does not know is ignored and left out of the recipe."""

    name: Literal["adamw", "sgd"]
    weight_decay: float
    beta1: float = 0.9
    beta2: float = 0.999
    epsilon: float = 1e-8
    momentum: float = 0.9


@dataclass(frozen=True, slots=True, kw_only=True)
class RunSpec:
    """Everything that shapes the weights and the curve of one run, resolved to numbers.

    `workload_options` are passed to the workload's constructor (dropout, ...).
    `fork_steps` are the steps where a full-state checkpoint is reserved for planned forks.
    """

    seed: int
    max_train_steps: int
    learning_rate: float
    schedule: ScheduleSpec
    optimizer: OptimizerSpec
    max_grad_norm: float | None
    precision: Precision
    global_batch_size: int
    eval_every_steps: int
    fork_steps: tuple[int, ...] = ()
    workload_options: dict[str, Value] = field(default_factory=dict)

    def eval_steps(self) -> tuple[int, ...]:
        """The steps of this run's curve: its cadence, its decay start and its last step (D7)."""
        steps = set(range(self.eval_every_steps, self.max_train_steps + 1, self.eval_every_steps))
        steps.add(self.max_train_steps)
        if self.schedule.decay_steps:
            steps.add(self.max_train_steps - self.schedule.decay_steps)
        return tuple(sorted(step for step in steps if step > 0))


@dataclass(frozen=True, slots=True, kw_only=True)
class EvalSpec:
    """What is measured at each evaluation, the same for all trials of a study."""

    metric: str
    direction: Direction
    batch_size: int
    num_train_examples: int
    max_validation_examples: int | None = None
    averaged_horizons: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class ExecutionSpec:
    """How a run is carried out on this machine; changes speed, or bits within one recipe, never the recipe (D2)."""

    device: str
    torch_threads: int
    micro_batch_size: int
    checkpoint_every_steps: int
    log_every_steps: int
    save_total_limit: int = 1


@dataclass(frozen=True, slots=True)
class FitRule:
    """Stop a sweep trial at the first evaluation whose `metric` on the training sample reaches `at_most`."""

    metric: str
    at_most: float


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a trial ended (D6). `reason` is one of a few words, e.g. `non-finite`, `diverged`, `dominated`, `fitted`."""

    kind: Literal["complete", "infeasible", "stopped", "crashed"]
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Fork:
    """The trial and step whose checkpoint a run started from."""

    trial: int
    step: int


@dataclass(frozen=True, slots=True)
class Evaluation:
    """One measured number of one trial."""

    global_step: int
    split: str
    metric: str
    value: float


TrialState = Literal["waiting", "running", "paused", "ended"]
"""waiting: may be claimed. running: leased. paused: at its target, which may be raised. ended: has an outcome."""

PhaseKind = Literal["budget_sweep", "cooldown", "round_1", "probe", "decay", "round_2", "instability_probe", "frontier"]
StudyState = Literal["running", "finished", "interrupted", "no_answer"]


@dataclass(frozen=True, slots=True, kw_only=True)
class TrialPlan:
    """A trial to be stored: its point, its run, and where in the phase it stands."""

    number: int
    params: dict[str, Value]
    spec: RunSpec


@dataclass(frozen=True, slots=True, kw_only=True)
class PhasePlan:
    """A phase to be opened. `fit` makes trials stop when they fit; `stop_when_dominated` lets a fit stop the others."""

    name: str
    kind: PhaseKind
    max_train_steps: int
    eval: EvalSpec
    fit: FitRule | None = None
    stop_when_dominated: bool = False

    @property
    def is_sweep(self) -> bool:
        """Trials pause at their target, which may rise, and keep no best weights: no model is chosen among them."""
        return self.kind == "budget_sweep"


@dataclass(frozen=True, slots=True, kw_only=True)
class TrialRecord:
    """A trial as stored. Steps and values are None until measured."""

    trial: int
    phase: str
    number: int
    params: dict[str, Value]
    spec: RunSpec
    state: TrialState
    outcome: Outcome | None = None
    last_step: int = 0
    best_step: int | None = None
    best_value: float | None = None
    last_value: float | None = None
    first_good_step: int | None = None
    num_evals: int = 0
    num_skipped_updates: int = 0
    forked_from: Fork | None = None
    steps_executed: int = 0
    weights_digest: str | None = None
    static_digest: str | None = None
    attempts: int = 0

    @property
    def is_ended(self) -> bool:
        return self.state == "ended"

    @property
    def is_feasible(self) -> bool:
        """Ended with a curve that may be judged."""
        return self.outcome is not None and self.outcome.kind == "complete"


@dataclass(frozen=True, slots=True, kw_only=True)
class PhaseRecord:
    """A phase as stored, with its trials in order of their number."""

    plan: PhasePlan
    trials: tuple[TrialRecord, ...] = ()
    is_closed: bool = False
    verdict: str | None = None
    reason: str | None = None

    @property
    def name(self) -> str:
        return self.plan.name


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """One decision of the protocol: what, why, and the numbers it was made from. Committed decisions bind (D8)."""

    kind: str
    reason: str
    phase: str | None = None
    numbers: dict[str, Json] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class AveragedBest:
    """The best evaluation of a run's averaged weights, over `horizon` updates, at `step`; and their test score."""

    horizon: int
    step: int
    value: float
    test_value: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What the study found. `best_trial` produced `best_value` at `best_step` of `max_train_steps`.

    All of that is of the weights themselves, and so is `test_value`. `averaged` are the trial's best averaged weights,
    if those are better on validation: then they are the model that the study hands out.
    """

    max_train_steps: int
    verdict: str
    best_trial: int
    best_step: int
    best_value: float
    metric: str
    params: dict[str, Value]
    sharing: str
    test_value: float | None = None
    averaged: AveragedBest | None = None

    @property
    def weights(self) -> str:
        """The better weights of the best trial: "raw" or "averaged_<horizon>"."""
        return "raw" if self.averaged is None else f"averaged_{self.averaged.horizon}"


@dataclass(frozen=True, slots=True, kw_only=True)
class StudyRecord:
    """A study as stored: what the protocol reads to decide what comes next.

    `curves[trial][(split, metric)]` holds every evaluation of the trial. `sharing` is `statistical` if any trial ran
    where equal recipes need not give equal bits, or went on with other numerics than it began with (D2).
    """

    name: str
    state: StudyState
    phases: tuple[PhaseRecord, ...] = ()
    decisions: tuple[Decision, ...] = ()
    curves: Mapping[int, Mapping[tuple[str, str], Curve]] = field(default_factory=lambda: MappingProxyType({}))
    answer: Answer | None = None
    reason: str | None = None
    sharing: str = "exact"

    def phase(self, name: str) -> PhaseRecord:
        return next(phase for phase in self.phases if phase.name == name)

    def phase_of(self, trial: TrialRecord) -> PhaseRecord:
        """The phase that holds a trial here, also where `trial.phase` was joined to another."""
        return next(phase for phase in self.phases if any(each.trial == trial.trial for each in phase.trials))

    def trials(self) -> tuple[TrialRecord, ...]:
        return tuple(trial for phase in self.phases for trial in phase.trials)

    def curve(self, trial: int, split: str, metric: str) -> Curve:
        return self.curves.get(trial, {}).get((split, metric), ())


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkloadFacts:
    """What the protocol must know of the data; measured once and kept in the study's first decision.

    `regularisers_off`: the workload's options as the sweep sets them. `workload_digest` names data, code and versions,
    `tokenizer_digest` a tokenizer that was learnt from the text. `constant_loss` is a constant predictor's loss on the
    training sample, the untrained model's where the workload cannot tell.
    """

    num_train_examples: int
    num_validation_examples: int
    num_test_examples: int
    metrics: tuple[str, ...]
    hyperparameters: tuple[str, ...] = ()
    regularisers_off: dict[str, Value] | None = None
    workload_digest: str = ""
    tokenizer_digest: str = ""
    constant_loss: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenPhase:
    """Store a phase. Its trials are given, or `num_points` asks the search for points of the search space."""

    plan: PhasePlan
    trials: tuple[TrialPlan, ...] = ()
    num_points: int = 0
    decisions: tuple[Decision, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class AddTrials:
    """Store more trials in an open phase: given, or `num_points` asks the search for them (as in `OpenPhase`).

    `within` narrows the search space for these points: name -> (low, high).
    """

    phase: str
    trials: tuple[TrialPlan, ...] = ()
    num_points: int = 0
    within: dict[str, tuple[float, float]] = field(default_factory=dict)
    decisions: tuple[Decision, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class RaiseTarget:
    """Let paused trials of a phase go on to a larger `max_train_steps` (a rung of the sweep)."""

    phase: str
    trials: tuple[int, ...]
    max_train_steps: int
    decisions: tuple[Decision, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class ClosePhase:
    """End a phase with its verdict.

    `truncate_at`: with the exact stop, trials that went beyond this step are cut there.
    `outcomes`: new outcomes by trial id; they replace those that a worker wrote.
    """

    phase: str
    verdict: str
    reason: str
    truncate_at: int | None = None
    outcomes: dict[int, Outcome] = field(default_factory=dict)
    decisions: tuple[Decision, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class EndTrials:
    """Give ended trials of an open phase another outcome, by trial id: what they only tell together."""

    phase: str
    outcomes: dict[int, Outcome]
    decisions: tuple[Decision, ...] = ()


@dataclass(frozen=True, slots=True)
class Wait:
    """Trials of the open phase are still to run."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Conclude:
    """The study has its answer."""

    answer: Answer
    decisions: tuple[Decision, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class GiveUp:
    """The study ends without an answer (exit 3); the reason names the remedies."""

    reason: str
    decisions: tuple[Decision, ...] = ()


Move = OpenPhase | AddTrials | RaiseTarget | EndTrials | ClosePhase | Wait | Conclude | GiveUp
