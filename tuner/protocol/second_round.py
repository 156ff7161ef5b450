"""`round_2`: few long trials of the best points, more than one seed each.

After the playbook's Round 2 (PROTOCOL 5). The extra steps go to the high rate: decay length and warmup stay, the
plateau grows, so that the first seed of each point continues its round-1 trial. Further seeds are trunks of their own,
and so is the lower-rate twin of the best point, since that recipe is speculation by its authors' own word.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final, Literal

from tuner.analysis.best_steps import sign_of
from tuner.analysis.low_rates import MOST_OF_EXTRA, low_rate_share, low_share_of_extra_steps
from tuner.analysis.transfer import point_key
from tuner.config.schema import StudyConfig
from tuner.protocol.compute_bound import production_steps
from tuner.protocol.decay import retuned_length
from tuner.protocol.rounds import GROWTH, distinct, feasible
from tuner.protocol.runs import decay_steps, lengthened, trial_seed
from tuner.protocol.scientific import asked, best_of_each_first
from tuner.protocol.words import json_safe, number, point, steps
from tuner.records import Decision, OpenPhase, PhasePlan, PhaseRecord, RunSpec, StudyRecord, TrialPlan, TrialRecord

ROUND_2: Final = "round_2"
CITED: Final = " (playbook, Round 2)."

TOO_SHORT: Final = "too short"
"""The one verdict after which a longer round 2 has shown to be worth it (PROTOCOL 5)."""

TWIN_RATE: Final = 0.5
"""The twin's rate as a share of its point's (ours)."""

Transferability = Literal["likely", "might", "unlikely", "unknown"]

_TRANSFER: dict[str, tuple[Transferability, str]] = {
    "learning_rate": ("unlikely", "learning-rate schedule"),
    **dict.fromkeys(
        ("optimizer", "beta1", "beta2", "epsilon", "momentum", "max_grad_norm"), ("might", "optimizer setting")
    ),
    **dict.fromkeys(("weight_decay", "dropout", "label_smoothing"), ("might", "regularisation")),
    **dict.fromkeys(("hidden_size", "num_layers", "num_heads", "intermediate_size"), ("likely", "architecture")),
}

_TRANSFER_TOLD: dict[Transferability, str] = {
    "likely": "likely to transfer",
    "might": "might transfer",
    "unlikely": "unlikely to transfer",
    "unknown": "not known to transfer",
}


def transfer_class(name: str) -> tuple[Transferability, str]:
    """How well a hyperparameter's best value tends to carry over to longer runs, and as what (playbook, Round 2)."""
    return _TRANSFER.get(name, ("unknown", "option of the workload"))


def ranked(phase: PhaseRecord) -> list[TrialRecord]:
    """The feasible trials of a phase by their best value; ties by number."""
    sign = sign_of(phase.plan.eval.direction)

    def key(trial: TrialRecord) -> tuple[float, int]:
        assert trial.best_value is not None, "feasible trials have one"
        return sign * trial.best_value, trial.number

    return sorted(feasible(phase), key=key)


def open_round_2(config: StudyConfig, study: StudyRecord, *, base: PhaseRecord) -> OpenPhase:
    """Carry the best points of the last round that has any over to a longer budget."""
    assert config.round_2 is not None, "asked only when round 2 is wanted"
    carried, production = carried_steps(study, base), production_steps(study)
    if production is not None and config.round_2.budget_multiple == "auto":
        # From here on round 1's whole budget is what the length is a multiple of.
        carried = base.plan.max_train_steps
        budget, why = production, "this is the production length (compute-bound; budget_multiple: auto)"
    else:
        multiple, why = budget_multiple(config, base)
        budget = max(1, round(multiple * carried))
    best = best_of_each_first(distinct(ranked(base)), asked(config))[: config.round_2.num_trials]
    decay = retuned_length(study)
    specs = [_extended(config, trial.spec, carried=carried, budget=budget, decay=decay) for trial in best]
    trials = [
        TrialPlan(
            number=index * len(best) + place,
            params=dict(trial.params),
            spec=replace(specs[place], seed=trial_seed(config.seed, index)),
        )
        for index in range(config.round_2.num_seeds)
        for place, trial in enumerate(best)
    ]
    twin = _twin(config, best[0], trials, longer=budget > base.plan.max_train_steps)
    opened = _opened(base, trials, best=best, carried=carried)
    opened = _with_twin(_with_low_rates(opened, base, trials), twin, why=why)
    plan = PhasePlan(name=ROUND_2, kind=ROUND_2, max_train_steps=budget, eval=base.plan.eval)
    trials += [twin] if twin else []
    return OpenPhase(plan=plan, trials=tuple(trials), decisions=(opened, _carried(best)))


def budget_multiple(config: StudyConfig, base: PhaseRecord) -> tuple[float, str]:
    """The multiple of the carried budget, and why if it was left to the study (`auto`)."""
    assert config.round_2 is not None, "asked only when round 2 is wanted"
    chosen = config.round_2.budget_multiple
    if chosen != "auto":
        return chosen, ""
    if base.verdict == TOO_SHORT:
        return GROWTH, f"{base.name} is {base.verdict}: longer training may still gain (budget_multiple: auto)"
    return 1, (
        f"{base.name} is {base.verdict}, nothing showed that longer training gains: round 2 is replication only "
        "(budget_multiple: auto)"
    )


def _twin(config: StudyConfig, best: TrialRecord, trials: list[TrialPlan], *, longer: bool) -> TrialPlan | None:
    """The best point's first seed at half its rate: the best rate tends to fall with the horizon (arXiv:2409.19913)."""
    assert config.round_2 is not None, "asked only when round 2 is wanted"
    if not config.round_2.lower_rate_twin or not longer:
        return None
    rate = float(f"{TWIN_RATE * best.spec.learning_rate:.6g}")
    params = {**best.params, "learning_rate": rate}
    if any(point_key(trial.params) == point_key(params) for trial in trials):
        return None  # A carried point is the twin already.
    return TrialPlan(number=len(trials), params=params, spec=replace(trials[0].spec, learning_rate=rate))


def carried_steps(study: StudyRecord, base: PhaseRecord) -> int:
    """The budget that round 1's verdict carried forward: as decided, never measured again."""
    for decision in reversed(study.decisions):
        if decision.kind == "verdict" and decision.phase == base.name:
            return int(decision.numbers["carried_steps"])
    return base.plan.max_train_steps


def _extended(config: StudyConfig, spec: RunSpec, *, carried: int, budget: int, decay: int | None) -> RunSpec:
    if carried < spec.max_train_steps:
        # The budget was too long: a decay that was a share of it would now be too long as well.
        decay = decay_steps(config, carried)
    if decay is not None:
        spec = replace(spec, schedule=replace(spec.schedule, decay_steps=decay))
    return lengthened(config, spec, max_train_steps=budget)


def _opened(base: PhaseRecord, trials: list[TrialPlan], *, best: list[TrialRecord], carried: int) -> Decision:
    spec = trials[0].spec
    num_seeds = len(trials) // len(best)
    seeds = "1 seed" if num_seeds == 1 else f"{num_seeds} seeds"
    points = "The best point" if len(best) == 1 else f"The {len(best)} best points"
    verb = "trains" if len(best) == 1 else "train"
    decay = spec.schedule.decay_steps
    stretched = "lengthen the plateau" if decay else "stretch the decay, anew at the same peak rate"
    extra = f"the extra steps {stretched}, " if spec.max_train_steps > carried else ""
    ends = f"the decay is {steps(decay)}" if decay else f"the schedule is {spec.schedule.kind}"
    reason = (
        f"{points} of {base.name} {verb} for {steps(spec.max_train_steps)} ({number(spec.max_train_steps / carried)} x "
        f"{carried:,}) with {seeds} each; {extra}{ends}{CITED}"
    )
    numbers = {
        "max_train_steps": spec.max_train_steps,
        "carried_steps": carried,
        "decay_steps": spec.schedule.decay_steps,
        "warmup_steps": spec.schedule.warmup_steps,
        "num_seeds": num_seeds,
        "from_trials": [trial.trial for trial in best],
    }
    return Decision(kind="round_opened", phase=ROUND_2, reason=reason, numbers=json_safe(numbers))


def _with_low_rates(opened: Decision, base: PhaseRecord, trials: list[TrialPlan]) -> Decision:
    """Steps at a low rate, and a warning if the extra steps of this round went there (PROTOCOL 5)."""
    shorter, longer = base.trials[0].spec, trials[0].spec
    extra = low_share_of_extra_steps(shorter, longer)
    told = f"{number(100 * low_rate_share(longer))} % of the steps run below 10 % of the peak rate"
    if extra is not None and extra > MOST_OF_EXTRA:
        told += f"; warning: so do {number(100 * extra)} % of the extra steps, which can teach little"
    numbers = {
        "low_rate_share": low_rate_share(longer),
        "low_rate_share_before": low_rate_share(shorter),
        "low_rate_share_of_extra_steps": extra,
    }
    return replace(opened, reason=_inserted(opened.reason, told), numbers={**opened.numbers, **json_safe(numbers)})


def _with_twin(opened: Decision, twin: TrialPlan | None, *, why: str) -> Decision:
    told = [why] if why else []
    if twin is not None:
        told.append(f"a twin of the best point runs at half its rate, {number(twin.spec.learning_rate)}")
    reason = _inserted(opened.reason, "; ".join(told)) if told else opened.reason
    return replace(opened, reason=reason, numbers={**opened.numbers, "twin": None if twin is None else twin.number})


def _inserted(reason: str, more: str) -> str:
    return f"{reason.removesuffix(CITED)}; {more}{CITED}"


def _carried(best: list[TrialRecord]) -> Decision:
    names = list(dict.fromkeys(name for trial in best for name in trial.params))
    classes = {name: transfer_class(name) for name in names}
    told = "; ".join(f"{name} ({classes[name][1]}): {_TRANSFER_TOLD[classes[name][0]]}" for name in names)
    reason = (
        f"Every tuned value is kept as it was ({point(best[0].params)} leads): {told or 'nothing was tuned'}; "
        "warmup length is kept too and very likely to transfer (playbook, Round 2)."
    )
    numbers = {
        "points": [dict(trial.params) for trial in best],
        "transfer": {name: {"class": c, "as": kind, "done": "kept"} for name, (c, kind) in classes.items()},
    }
    return Decision(kind="carried_over", phase=ROUND_2, reason=reason, numbers=json_safe(numbers))
