"""A laboratory without training: plays the protocol against made-up curves, applying each move as storage would.

A world says what a run measures at a step; a seeded random generator decides which trial takes its next evaluation, so
that anything that depends on who finished first shows up as a different study.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from itertools import product
from typing import Any

from tuner.analysis.averages import averaged_split
from tuner.analysis.best_steps import best, first_good_step
from tuner.analysis.divergence import is_diverged
from tuner.config.added_points import AddedPoint
from tuner.config.extension import changes
from tuner.config.schema import StudyConfig
from tuner.protocol.advance import next_move
from tuner.protocol.extension import extended, extension, longer_production, new_points
from tuner.protocol.generations import num_drawn
from tuner.protocol.grown import joining_trials
from tuner.protocol.joined import joined
from tuner.protocol.limits import is_out_of_time
from tuner.protocol.measured import NOTHING_MEASURED, Measured
from tuner.protocol.runs import round_trials
from tuner.protocol.space import space_of
from tuner.records import (
    TRAIN_SAMPLE,
    UPDATES,
    VALIDATION,
    AddTrials,
    Answer,
    ClosePhase,
    Conclude,
    Curve,
    Decision,
    EndTrials,
    GiveUp,
    Move,
    OpenPhase,
    Outcome,
    Params,
    PhaseRecord,
    RaiseTarget,
    RunSpec,
    ScheduleSpec,
    StudyRecord,
    TrialPlan,
    TrialRecord,
    Wait,
    WorkloadFacts,
)
from tuner.storage.record_json import to_json
from tuner.training.schedule import learning_rates

FACTS = WorkloadFacts(
    num_train_examples=1000,
    num_validation_examples=200,
    num_test_examples=200,
    metrics=("loss", "perplexity"),
    hyperparameters=("dropout",),
)

Losses = tuple[float, float]
"""Loss on the training sample and on the validation set."""

World = Callable[[RunSpec, int], Losses | str]
"""What a run measures at a step; or "non-finite", or "crash"."""


def config_of(**sections: Any) -> StudyConfig:
    """A small study; keyword arguments replace or extend its sections."""
    base: dict[str, Any] = {
        "study": "made-up",
        "seed": 7,
        "workload": {"kind": "causal_lm", "text": "x.txt"},
        "budget": {"first_guess_steps": 500, "max_steps": 4000, "perfect_fit": {"metric": "loss", "at_most": 1.0}},
        "budget_sweep": {"learning_rates": {"low": 1e-4, "high": 1e-2, "num_rates": 5}},
        "search_space": {"learning_rate": {"low": 1e-4, "high": 1e-2, "scale": "log"}},
        "round_1": {"num_trials": 6, "adjust": "none", "decay_shares": []},
        "round_2": {"num_trials": 2, "num_seeds": 2, "budget_multiple": 2, "lower_rate_twin": False},
    }
    for name, section in sections.items():
        base[name] = {**base.get(name, {}), **section} if isinstance(section, dict) else section
    return StudyConfig.model_validate(base)


@dataclass
class Lab:
    """One study in memory, with a log of its moves."""

    config: StudyConfig
    world: World
    seed: int = 0
    facts: WorkloadFacts = FACTS
    measured: Measured = NOTHING_MEASURED
    """What the workers have spent, as every move of the study is told."""
    seconds_per_step: Callable[[int], float] | None = None
    """How long a step takes, by the number of steps before it: then `measured` follows what was trained."""
    error: Callable[[RunSpec, int], float] | None = None
    """Validation error, for studies whose objective it is."""
    norms: Callable[[RunSpec, int], tuple[float, float]] | None = None
    """The 90th percentile of the unclipped gradient norms, and the share of clipped updates."""
    averaged: Callable[[RunSpec, int, int], float] | None = None
    """Validation loss of the weights averaged over so many updates (run, step, horizon); None: nothing measures it."""
    answer: Answer | None = None
    """That of a study that was extended."""
    phases: list[PhaseRecord] = field(default_factory=list)
    curves: dict[int, dict[tuple[str, str], Curve]] = field(default_factory=dict)
    decisions: list[Decision] = field(default_factory=list)
    moves: list[Move] = field(default_factory=list)

    trained: set[int] = field(default_factory=set)
    """The updates made so far, each by its whole past."""

    def __post_init__(self) -> None:
        self.random = random.Random(self.seed)

    @property
    def study(self) -> StudyRecord:
        return StudyRecord(
            name="made-up",
            state="running",
            phases=tuple(self.phases),
            decisions=tuple(self.decisions),
            curves=self.curves,
            answer=self.answer,
        )

    @property
    def end(self) -> Conclude | GiveUp:
        assert isinstance(self.moves[-1], Conclude | GiveUp)
        return self.moves[-1]

    def kinds(self) -> list[str]:
        return [decision.kind for decision in self.decisions]

    def decision(self, kind: str, phase: str | None = None) -> Decision:
        return next(d for d in self.decisions if d.kind == kind and phase in (None, d.phase))

    def play(self, *, max_moves: int = 60, until: str | None = None) -> Lab:
        """Play the study to its end, or until a phase opens; each question is asked twice, for the same answer."""
        for _ in range(max_moves):
            study = self.study
            move = next_move(self.config, self.facts, study, measured=self.measured)
            assert move == next_move(self.config, self.facts, study, measured=self.measured)
            if isinstance(move, Wait):
                self._train()
                continue
            to_json(move)
            self.moves.append(move)
            self._apply(move)
            if isinstance(move, Conclude | GiveUp) or (until and self.phases[-1].name == until):
                return self
        raise AssertionError(f"no end after {max_moves} moves: {self.kinds()}")

    def trials(self, phase: str) -> tuple[TrialRecord, ...]:
        return self.study.phase(phase).trials

    def _apply(self, move: Move) -> None:
        if isinstance(move, OpenPhase):
            trials = (*move.trials, *self._proposed(move))
            self.phases.append(PhaseRecord(plan=move.plan, trials=self._stored(move.plan.name, trials)))
        elif isinstance(move, AddTrials):
            phase = self.study.phase(move.phase)
            trials = (*move.trials, *(self._more(phase, move) if move.num_points else ()))
            self._put(replace(phase, trials=phase.trials + self._stored(move.phase, trials)))
        elif isinstance(move, RaiseTarget):
            for trial in self.trials(move.phase):
                if trial.trial in move.trials:
                    assert trial.state == "paused", "only paused trials may be raised"
                    spec = replace(trial.spec, max_train_steps=move.max_train_steps)
                    self._put_trial(replace(trial, spec=spec, state="waiting"))
        elif isinstance(move, EndTrials):
            for trial in self.trials(move.phase):
                if trial.trial in move.outcomes:
                    assert trial.state == "ended", "only ended trials get another outcome"
                    self._put_trial(replace(trial, outcome=move.outcomes[trial.trial]))
        elif isinstance(move, ClosePhase):
            self._close(move)
        self.decisions.extend(getattr(move, "decisions", ()))

    def _close(self, move: ClosePhase) -> None:
        for trial in self.trials(move.phase):
            outcome = move.outcomes.get(trial.trial, trial.outcome)
            assert outcome is not None, "a closed phase has an outcome for every trial"
            self._put_trial(self._measured(replace(trial, state="ended", outcome=outcome), move.truncate_at))
        phase = self.study.phase(move.phase)
        self._put(replace(phase, is_closed=True, verdict=move.verdict, reason=move.reason))

    def _measured(self, trial: TrialRecord, truncate_at: int | None) -> TrialRecord:
        """The trial with its curves cut and its summary computed from them again."""
        last = trial.last_step if truncate_at is None else min(trial.last_step, truncate_at)
        curves = self.curves.setdefault(trial.trial, {})
        for key, curve in curves.items():
            curves[key] = tuple(evaluation for evaluation in curve if evaluation[0] <= last)
        validation = curves.get((VALIDATION, self.config.evaluation.metric), ())
        top = best(validation, "minimize")
        return replace(
            trial,
            last_step=last,
            best_step=top[0] if top else None,
            best_value=top[1] if top else None,
            last_value=validation[-1][1] if validation else None,
            first_good_step=first_good_step(validation, "minimize"),
            num_evals=len(validation),
        )

    def _proposed(self, move: OpenPhase) -> tuple[TrialPlan, ...]:
        """The points that a phase asks the search for, after those that the phase which it joins has."""
        if not move.num_points:
            return ()
        view = joined(self.study)
        rounds = [phase for phase in view.phases if phase.plan.kind == "round_1"] or [PhaseRecord(plan=move.plan)]
        first = num_drawn(view.decisions, rounds[-1])
        points = self._points(first + move.num_points, (*self.decisions, *move.decisions))[first:]
        return joining_trials(self.config, self.facts, rounds, points, first=len(move.trials))

    def extend(self, config: StudyConfig, *points: Params, **options: Any) -> Lab:
        """As `tuner extend` does, then on to the next end."""
        ended, study = self.moves[-1] if self.moves else None, self.study
        answer = ended.answer if isinstance(ended, Conclude) else None
        reason = ended.reason if isinstance(ended, GiveUp) else None
        if reason is not None:
            self.phases = [phase if phase.is_closed else given_up(phase, reason) for phase in self.phases]
        study = replace(self.study, answer=answer, reason=reason)
        given = [AddedPoint(params=dict(point), from_answer=(), outside=()) for point in points]
        decisions = [extension(study, changes(self.config, config), new_points(study, given))]
        longer = longer_production(config, study, self.measured)
        study = extended(study, [*decisions, *([longer] if longer else [])])
        self.config, self.answer = config, answer
        self.phases, self.decisions = list(study.phases), list(study.decisions)
        return self.play(**options)

    def _more(self, phase: PhaseRecord, move: AddTrials) -> tuple[TrialPlan, ...]:
        first = len(phase.trials)
        points = self._points(first + move.num_points, (*self.decisions, *move.decisions))[first:]
        for (name, (low, high)), (place, point) in product(move.within.items(), enumerate(points, 1)):
            point[name] = low * (high / low) ** (place / (len(points) + 1))
        return round_trials(self.config, self.facts, phase.plan, points, first=first)

    def _points(self, count: int, decisions: Sequence[Decision]) -> list[dict[str, Any]]:
        """The first points of a van der Corput sequence over each log range."""
        points = []
        for index in range(1, count + 1):
            point = {}
            for place, (name, dimension) in enumerate(space_of(self.config, decisions).items()):
                share = _radical_inverse(index, (2, 3, 5, 7)[place])
                if dimension.scale == "log":
                    point[name] = math.exp(
                        math.log(dimension.low) + share * (math.log(dimension.high) - math.log(dimension.low))
                    )
                else:
                    point[name] = dimension.low + share * (dimension.high - dimension.low)
            points.append(point)
        return points

    def _stored(self, phase: str, plans: Iterable[TrialPlan]) -> tuple[TrialRecord, ...]:
        plans, first = list(plans), 1 + len(self.study.trials())
        for plan in plans:
            schedule = plan.spec.schedule
            assert schedule.warmup_steps + schedule.decay_steps <= plan.spec.max_train_steps, "no run of it would start"
        return tuple(
            TrialRecord(
                trial=first + place,
                phase=phase,
                number=plan.number,
                params=plan.params,
                spec=plan.spec,
                state="waiting",
            )
            for place, plan in enumerate(plans)
        )

    def _put(self, phase: PhaseRecord) -> None:
        self.phases = [phase if old.name == phase.name else old for old in self.phases]

    def _put_trial(self, trial: TrialRecord) -> None:
        phase = self.study.phase(trial.phase)
        self._put(replace(phase, trials=tuple(trial if t.trial == trial.trial else t for t in phase.trials)))

    def _train(self) -> None:
        """Let random trials take their next evaluation until none may run."""
        while not is_out_of_time(self.config, self.measured) and (
            able := [t for phase in self.phases for t in phase.trials if t.state in ("waiting", "running")]
        ):
            trial = self.random.choice(able)
            # Some workers are slow, some run on: any number of evaluations before another gets its turn.
            for _ in range(self.random.choice((1, 1, 2, 50))):
                trial = self._step(trial)
                self._put_trial(trial)
                if trial.state != "running" or is_out_of_time(self.config, self.measured):
                    break

    def _step(self, trial: TrialRecord) -> TrialRecord:
        plan = self.study.phase(trial.phase).plan
        step = min(s for s in trial.spec.eval_steps() if s > trial.last_step)
        self._clock(trial.spec, trial.last_step, step)
        measured = self.world(trial.spec, step)
        if measured == "crash":
            return self._ended(trial, Outcome("crashed", "ran out of luck"))
        trial = replace(trial, state="running", last_step=step)
        if isinstance(measured, str):
            return self._ended(trial, Outcome("infeasible", "non-finite"))
        for split, value in zip((TRAIN_SAMPLE, VALIDATION), measured, strict=True):
            curves = self.curves.setdefault(trial.trial, {})
            curves[(split, "loss")] = (*curves.get((split, "loss"), ()), (step, value))
        if self.error is not None:
            errors = self.curves[trial.trial].get((VALIDATION, "error"), ())
            self.curves[trial.trial][(VALIDATION, "error")] = (*errors, (step, self.error(trial.spec, step)))
        for horizon in plan.eval.averaged_horizons if self.averaged is not None else ():
            key, curves = (averaged_split(horizon), "loss"), self.curves[trial.trial]
            curves[key] = (*curves.get(key, ()), (step, self.averaged(trial.spec, step, horizon)))
        if self.norms is not None:
            for metric, value in zip(("grad_norm_p90", "clipped_share"), self.norms(trial.spec, step), strict=True):
                curves = self.curves[trial.trial]
                curves[UPDATES, metric] = (*curves.get((UPDATES, metric), ()), (step, value))
        if plan.fit is not None and measured[0] <= plan.fit.at_most:
            return self._ended(trial, Outcome("complete", "fitted"))
        dense = plan.kind == "instability_probe"
        if is_diverged(self.curves[trial.trial][(TRAIN_SAMPLE, "loss")], at_every_step=dense):
            return self._ended(trial, Outcome("infeasible", "diverged"))
        if plan.stop_when_dominated and step >= self._stop_step(plan.name):
            return self._ended(trial, Outcome("stopped", "dominated"))
        if step < trial.spec.max_train_steps:
            return trial
        return replace(trial, state="paused") if plan.is_sweep else self._ended(trial, Outcome("complete"))

    def _clock(self, spec: RunSpec, last: int, step: int) -> None:
        """Updates that no run has made before take time: those with another past (the stage tree of PROTOCOL 8)."""
        if self.seconds_per_step is None:
            return
        pasts = pasts_of(spec)
        new = {pasts[update] for update in range(last, step)} - self.trained
        self.trained |= new
        num_steps = len(new)
        spent, before = num_steps * self.seconds_per_step(self.measured.num_steps), self.measured
        self.measured = replace(
            before,
            num_steps=before.num_steps + num_steps,
            worker_seconds=before.worker_seconds + spent,
            elapsed_seconds=before.elapsed_seconds + spent / before.num_workers,
        )

    def _stop_step(self, phase: str) -> float:
        fitted = [t.last_step for t in self.trials(phase) if t.outcome == Outcome("complete", "fitted")]
        return min(fitted, default=math.inf)

    def _ended(self, trial: TrialRecord, outcome: Outcome) -> TrialRecord:
        return self._measured(replace(trial, state="ended", outcome=outcome), None)


def given_up(phase: PhaseRecord, reason: str) -> PhaseRecord:
    """An open phase as storage closes it when the study ends without an answer."""
    stopped = Outcome("stopped", "no answer")
    trials = tuple(t if t.state == "ended" else replace(t, state="ended", outcome=stopped) for t in phase.trials)
    return replace(phase, is_closed=True, verdict="no answer", reason=reason, trials=trials)


NO_SCHEDULE = ScheduleSpec(kind="constant", warmup_steps=0)


def pasts_of(spec: RunSpec) -> tuple[int, ...]:
    """Each update of a run by its whole past: equal numbers are equal work."""
    run = replace(spec, max_train_steps=0, schedule=NO_SCHEDULE, eval_every_steps=1, fork_steps=())
    past, pasts = hash(repr(run)), []
    for rate in learning_rates(spec, 0, spec.max_train_steps):
        past = hash((past, float(rate)))
        pasts.append(past)
    return tuple(pasts)


def bowl(
    optimum: float = 1e-3,
    *,
    steps_at_optimum: int = 600,
    overfit_from: float | None = None,
    noise: float = 0.0,
    explode_above: float = math.inf,
) -> World:
    """A world with one best rate: loss falls from 4 and reaches 1 after `steps_at_optimum` steps, later elsewhere.

    Validation loss lies 0.2 above; it rises again after `overfit_from` steps. Above `explode_above` loss is not finite.
    """

    def measure(spec: RunSpec, step: int) -> Losses | str:
        if spec.learning_rate > explode_above and step >= 40:
            return "non-finite"
        distance = abs(math.log10(spec.learning_rate / optimum))
        needed = steps_at_optimum * (1 + 2 * distance)
        train = 4.0 / 4.0 ** (step / needed)
        validation = (
            0.2 + 0.3 * distance + (train if overfit_from is None else 4.0 / 4.0 ** (min(step, overfit_from) / needed))
        )
        if overfit_from is not None and step > overfit_from:
            validation += 0.5 * (step - overfit_from) / overfit_from
        jitter = random.Random(f"{spec.seed}/{spec.learning_rate}/{step}").gauss(0, noise) if noise else 0.0
        return train, validation + jitter

    return measure


def trained(progress: Callable[[int], float], *, decay_gain: float = 0.1, noise: float = 0.0) -> World:
    """Rounds whose loss is `progress` of the step, and falls by `decay_gain` over any decay; the usual sweep.

    Rates away from 1e-3 are worse by half the distance in decades, higher ones a little more.
    """
    usual = bowl()

    def measure(spec: RunSpec, step: int) -> Losses | str:
        length = spec.schedule.decay_steps
        if not length:
            return usual(spec, step)
        decayed = max(0.0, 1 - (spec.max_train_steps - step) / length)
        decades = math.log10(spec.learning_rate / 1e-3)
        distance = max(1.02 * decades, -decades)
        jitter = random.Random(f"{spec}/{step}").gauss(0, noise) if noise else 0.0
        return 1.0, progress(step) - decay_gain * decayed + 0.5 * distance + jitter

    return measure


def _radical_inverse(index: int, base: int) -> float:
    share, weight = 0.0, 1.0 / base
    while index:
        index, digit = divmod(index, base)
        share, weight = share + digit * weight, weight / base
    return share
