"""Made-up studies with realistic curves for the report and the commands: seeded, quick, and never trained."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, replace

import numpy as np

from tuner.analysis.best_steps import first_good_step
from tuner.config.schema import StudyConfig
from tuner.protocol.answer import conclude
from tuner.records import (
    Curve,
    Decision,
    EvalSpec,
    FitRule,
    Fork,
    OptimizerSpec,
    Outcome,
    PhaseKind,
    PhasePlan,
    PhaseRecord,
    RunSpec,
    ScheduleSpec,
    StudyRecord,
    TrialRecord,
    Value,
    WorkloadFacts,
)

EVAL = EvalSpec(metric="loss", direction="minimize", batch_size=64, num_train_examples=500)
FIT = FitRule("loss", 1.2)
FACTS = WorkloadFacts(
    num_train_examples=500,
    num_validation_examples=250,
    num_test_examples=250,
    metrics=("loss",),
    hyperparameters=("dropout",),
)
BILL = {
    "requested": 28_400,
    "executed": 19_870,
    "shared": 8_530,
    "recomputed": 0,
    "overshoot": 210,
    "stage_tree": 19_660,
    "seconds": {"train": 170.4, "eval": 21.3, "checkpoint": 3.1, "setup": 6.0, "idle": 12.4},
}
SPACE = {
    "learning_rate": {"low": 2e-4, "high": 1.2e-2, "scale": "log"},
    "weight_decay": {"low": 1e-3, "high": 0.3, "scale": "log"},
    "beta1": {"low": 0.8, "high": 0.99, "scale": "one_minus_log"},
    "dropout": {"low": 0.0, "high": 0.3},
}


def make_config(name: str = "quickstart", searched: tuple[str, ...] = ("learning_rate", "dropout")) -> StudyConfig:
    return StudyConfig.model_validate(
        {
            "study": name,
            "workload": {"kind": "causal_lm", "text": "python:pydoc_data.topics:topics"},
            "budget": {"first_guess_steps": 500, "max_steps": 4000, "perfect_fit": {"metric": "loss", "at_most": 1.2}},
            "search_space": {key: SPACE[key] for key in searched},
            "round_1": {"num_trials": 6, "adjust": "raw"},
        }
    )


@dataclass(frozen=True, slots=True)
class Made:
    """A trial with its curves."""

    trial: TrialRecord
    curves: dict[tuple[str, str], Curve]


def make_spec(steps: int, rate: float, *, every: int, decay: int = 0, seed: int = 0) -> RunSpec:
    kind = "warmup_stable_decay" if decay else "constant"
    return RunSpec(
        seed=seed,
        max_train_steps=steps,
        learning_rate=rate,
        schedule=ScheduleSpec(kind=kind, warmup_steps=20, decay_steps=decay),
        optimizer=OptimizerSpec(name="adamw", weight_decay=0.01),
        max_grad_norm=1.0,
        precision="fp32",
        global_batch_size=16,
        eval_every_steps=every,
    )


def make_curves(spec: RunSpec, params: dict[str, Value], *, noise: float = 0.012, until: int | None = None) -> dict:
    """Losses that fall with the rate's speed, drop in the decay, and overfit without dropout."""
    rng = np.random.default_rng(
        [spec.seed, round(1e6 * spec.learning_rate), round(1e3 * float(params.get("dropout") or 0))]
    )
    distance = math.log(spec.learning_rate / 3.2e-3)
    tau, dropout = 120 * math.exp(0.3 * distance**2), float(params.get("dropout") or 0.0)
    train, validation = [], []
    for step in (s for s in spec.eval_steps() if until is None or s <= until):
        decay = spec.schedule.decay_steps
        progress = max(0.0, (step - spec.max_train_steps + decay) / decay) if decay else 0.0
        fall = math.exp(-step / (tau * 2.2)) + 0.4 * math.exp(-step / (tau * 9))
        base = 0.6 + 2.6 * fall - 0.08 * progress
        overfit = max(0.0, step - 7 * tau) * 5e-4 * (1 - 2.6 * dropout)
        train.append((step, base + noise * rng.standard_normal()))
        validation.append((step, base + 1.3 + 0.2 * abs(dropout - 0.12) + overfit + noise * rng.standard_normal()))
    return {
        ("train", "loss"): tuple(train),
        ("validation", "loss"): tuple(validation),
        ("validation", "perplexity"): tuple((step, math.exp(value)) for step, value in validation),
    }


def diverging(curves: dict, factor: float = 3.0) -> dict:
    """The same curves, blown up after their first third and cut."""

    def blown(curve: Curve) -> Curve:
        third = max(3, len(curve) // 3)
        return curve[:third] + tuple(
            (step, value + factor * (i + 1)) for i, (step, value) in enumerate(curve[third : third + 3])
        )

    return {key: blown(curve) for key, curve in curves.items()}


def make_trial(
    number: int, phase: str, params: dict[str, Value], *, spec: RunSpec, outcome: Outcome | None, curves: dict
) -> Made:
    validation = curves[("validation", "loss")]
    best = min(validation, key=lambda point: (point[1], point[0])) if validation else (None, None)
    trial = TrialRecord(
        trial=number,
        phase=phase,
        number=number,
        params=params,
        spec=spec,
        state="ended" if outcome else "running",
        outcome=outcome,
        last_step=validation[-1][0] if validation else 0,
        best_step=best[0],
        best_value=best[1],
        last_value=validation[-1][1] if validation else None,
        first_good_step=first_good_step(validation, "minimize") if validation else None,
        num_evals=len(validation),
        steps_executed=validation[-1][0] if validation else 0,
        weights_digest=None if outcome is None or outcome.kind == "stopped" else f"{number:02d}" * 32,
        attempts=1,
    )
    return Made(trial, curves)


def make_sweep(
    rates: tuple[float, ...] = (5e-4, 1.26e-3, 3.2e-3, 8e-3, 2e-2), *, fits: bool = True, diverges: int = 1
) -> list[Made]:
    """Constant rates; the fastest reaches a training loss of 1.2, the last `diverges` rates blow up."""
    made = []
    for number, rate in enumerate(rates):
        spec = make_spec(2000, rate, every=20)
        curves, outcome = make_curves(spec, {}), Outcome("stopped", "dominated")
        if number >= len(rates) - diverges:
            curves, outcome = diverging(curves), Outcome("infeasible", "diverged")
        made.append(
            make_trial(number, "budget_sweep", {"learning_rate": rate}, spec=spec, outcome=outcome, curves=curves)
        )
    if not fits:
        return made
    reached = {
        m.trial.number: next((s for s, v in m.curves[("train", "loss")] if v <= FIT.at_most), None) for m in made
    }
    fastest = min(
        (n for n in reached if reached[n] and made[n].trial.outcome.kind == "stopped"), key=lambda n: (reached[n], n)
    )
    stop = reached[fastest]
    return [_truncated(m, stop, fitted=m.trial.number == fastest) for m in made]


def _truncated(made: Made, stop: int, *, fitted: bool) -> Made:
    if made.trial.outcome.kind == "infeasible":
        return made
    curves = {key: tuple(point for point in curve if point[0] <= stop) for key, curve in made.curves.items()}
    outcome = Outcome("complete", "fitted") if fitted else Outcome("stopped", "dominated")
    old = made.trial
    return make_trial(old.number, old.phase, old.params, spec=old.spec, outcome=outcome, curves=curves)


def make_points(count: int, searched: tuple[str, ...]) -> list[dict[str, Value]]:
    """Quasi-random points of the search space."""
    points: list[dict[str, Value]] = []
    bases = (2, 3, 5, 7)
    for index in range(1, count + 1):
        point: dict[str, Value] = {}
        for name, base in zip(searched, bases, strict=False):
            low, high = SPACE[name]["low"], SPACE[name]["high"]
            share = _radical_inverse(index, base)
            scale = SPACE[name].get("scale", "linear")
            if scale == "log":
                point[name] = low * (high / low) ** share
            elif scale == "one_minus_log":
                point[name] = 1 - (1 - high) * ((1 - low) / (1 - high)) ** share
            else:
                point[name] = low + (high - low) * share
        points.append(point)
    return points


def _radical_inverse(index: int, base: int) -> float:
    share, digit = 0.0, 1.0
    while index:
        digit /= base
        share += digit * (index % base)
        index //= base
    return share


def make_round(
    name: str, points: list[dict[str, Value]], steps: int, *, every: int, decay: int, seeds: tuple[int, ...] = (0,)
) -> list[Made]:
    """Trials of a round; rates above 7e-3 diverge."""
    made = []
    for params in points:
        for seed in seeds:
            rate = float(params["learning_rate"])
            spec = make_spec(steps, rate, every=every, decay=decay, seed=seed)
            curves, outcome = make_curves(spec, params), Outcome("complete", "")
            if rate > 7e-3:
                curves, outcome = diverging(curves, factor=1.5), Outcome("infeasible", "diverged")
            made.append(make_trial(len(made), name, dict(params), spec=spec, outcome=outcome, curves=curves))
    return made


def make_phase(
    name: str, kind: PhaseKind, steps: int, made: list[Made], *, verdict: str | None, reason: str | None
) -> PhaseRecord:
    plan = PhasePlan(
        name=name,
        kind=kind,
        max_train_steps=steps,
        eval=EVAL,
        fit=FIT if kind == "budget_sweep" else None,
        stop_when_dominated=kind == "budget_sweep",
    )
    trials = tuple(m.trial for m in made)
    return PhaseRecord(plan=plan, trials=trials, is_closed=verdict is not None, verdict=verdict, reason=reason)


def assemble(name: str, phases: list[tuple[PhaseRecord, list[Made]]], **fields: object) -> StudyRecord:
    """A study with trial ids that rise over its phases."""
    offset, curves, records = 0, {}, []
    for phase, made in phases:
        trials = []
        for m in made:
            trial = replace(m.trial, trial=offset + m.trial.number + 1)
            if phase.name not in ("budget_sweep", "round_1") and m.trial.spec.seed == 0:
                trial = replace(trial, forked_from=Fork(6 + m.trial.number, 680))
            trials.append(trial)
            curves[trial.trial] = m.curves
        records.append(replace(phase, trials=tuple(trials)))
        offset += len(made)
    facts = Decision(kind="facts", reason="500 training examples of 64 tokens", numbers=asdict(FACTS))
    decisions = (facts, *fields.pop("decisions", ()))  # type: ignore[misc]
    return StudyRecord(name=name, phases=tuple(records), curves=curves, decisions=decisions, **fields)  # type: ignore[arg-type]


def quickstart_study(
    name: str = "quickstart", *, num_points: int = 6, searched: tuple[str, ...] = ("learning_rate", "dropout")
) -> StudyRecord:
    """A finished study: sweep, round 1, its adjustment, round 2 with two points and two seeds."""
    sweep, points = make_sweep(), make_points(num_points, searched)
    budget = max(m.trial.last_step for m in sweep if m.trial.outcome.kind == "complete")
    decay, every = round(0.2 * budget), max(1, budget // 25)
    first = make_round("round_1", points, budget, every=every, decay=decay)
    second = make_round("round_1.2", points, 2 * budget, every=2 * every, decay=decay)
    feasible = sorted((m for m in second if m.trial.is_feasible), key=lambda m: m.trial.best_value)
    third = make_round(
        "round_2", [m.trial.params for m in feasible[:2]], 4 * budget, every=4 * every, decay=decay, seeds=(0, 77)
    )
    late = "5 of 5 feasible trials were best in their last quarter"
    phases = [
        (
            make_phase(
                "budget_sweep",
                "budget_sweep",
                2000,
                sweep,
                verdict=f"fits in {budget} steps",
                reason="0.0032 fitted first",
            ),
            sweep,
        ),
        (make_phase("round_1", "round_1", budget, first, verdict="too short", reason=late), first),
        (
            make_phase(
                "round_1.2", "round_1", 2 * budget, second, verdict="adequate", reason="neither band holds 75 %"
            ),
            second,
        ),
        (
            make_phase(
                "round_2",
                "round_2",
                4 * budget,
                third,
                verdict="undecided",
                reason="4 feasible trials are fewer than 5",
            ),
            third,
        ),
    ]
    study = assemble(name, phases, state="finished", decisions=sample_decisions(budget, late))
    found = conclude(study, sharing="exact").answer
    return replace(study, answer=replace(found, test_value=found.best_value + 0.031))


def sample_decisions(budget: int, late: str) -> tuple[Decision, ...]:
    return (
        Decision(
            kind="sweep_opened",
            phase="budget_sweep",
            reason="5 constant rates from 0.0005 to 0.02; weight_decay and dropout are off",
        ),
        Decision(
            kind="budget",
            phase="budget_sweep",
            reason=f"learning_rate=0.0032 reached train loss <= 1.2 first, after {budget:,} steps; it is on no edge",
            numbers={"steps_to_fit": {"0.0032": budget}, "at_most": 1.2},
        ),
        Decision(
            kind="verdict",
            phase="round_1",
            reason=f"{budget:,} steps look too short: {late}",
            numbers={"num_late": 5, "num_feasible": 5},
        ),
        Decision(
            kind="adjusted",
            phase="round_1.2",
            reason=f"the budget is doubled to {2 * budget:,} steps with the same points",
        ),
        Decision(
            kind="verdict",
            phase="round_1.2",
            reason=f"{2 * budget:,} steps look adequate: 2 of 5 were best in their last quarter",
        ),
        Decision(
            kind="carried_over",
            phase="round_2",
            reason="the best 2 points go on at 2 x the budget; learning_rate is unlikely to transfer",
        ),
        Decision(kind="answer", phase="round_2", reason="the best value over all rounds came from round_2"),
    )


def unfinished_study(name: str = "half way") -> StudyRecord:
    """Interrupted in round 1: three trials ended, one is at work, two wait."""
    full = quickstart_study(name)
    first = full.phase("round_1")
    waiting = {
        "state": "waiting",
        "outcome": None,
        "last_step": 0,
        "best_step": None,
        "best_value": None,
        "last_value": None,
        "num_evals": 0,
    }
    trials = tuple(
        t if t.number < 3 else replace(t, first_good_step=None, weights_digest=None, **waiting) for t in first.trials
    )
    phases = (full.phase("budget_sweep"), replace(first, trials=trials, is_closed=False, verdict=None, reason=None))
    known = {t.trial for p in phases for t in p.trials if t.num_evals}
    curves = {trial: curve for trial, curve in full.curves.items() if trial in known}
    return replace(full, state="interrupted", phases=phases, answer=None, decisions=full.decisions[:3], curves=curves)


def no_answer_study(name: str = "nothing fits") -> StudyRecord:
    """The sweep ended without a fit."""
    sweep = make_sweep(fits=False, diverges=2)
    phase = make_phase(
        "budget_sweep", "budget_sweep", 2000, sweep, verdict="no fit", reason="no rate reached train loss <= 1.2"
    )
    reason = "no rate reached train loss <= 1.2 within max_steps=2000; raise perfect_fit.at_most or budget.max_steps"
    return assemble(name, [(phase, sweep)], state="no_answer", reason=reason)


def empty_study(name: str = "just begun") -> StudyRecord:
    """Stored, and nothing else yet."""
    return StudyRecord(name=name, state="running")
