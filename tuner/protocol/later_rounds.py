"""`round_2`, `round_3`, ...: few long trials of the points that survived the round before, more than one seed each.

After the playbook's Round 2 (PROTOCOL 5). The extra steps go to the high rate: decay length and warmup stay, the
plateau grows, so that a point's seeds continue their trials of the round before. Further seeds are trunks of their own,
and so is the lower-rate twin of the best point, since that recipe is speculation by its authors' own word.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final, Literal

from tuner.analysis.low_rates import MOST_OF_EXTRA, low_rate_share, low_share_of_extra_steps
from tuner.analysis.transfer import point_key
from tuner.config.schema import LaterRound, StudyConfig
from tuner.protocol.answer import twins
from tuner.protocol.decay import retuned_length
from tuner.protocol.frontier_budgets import with_reserved
from tuner.protocol.lengths import has_twin
from tuner.protocol.next_length import LATER, Length, length_of, round_name
from tuner.protocol.replicas import ranked_points
from tuner.protocol.rounds import feasible
from tuner.protocol.runs import decay_steps, has_plateau, lengthened, trial_seed
from tuner.protocol.scientific import asked, best_of_each_first
from tuner.protocol.words import json_safe, number, point, steps
from tuner.records import Decision, OpenPhase, PhasePlan, PhaseRecord, RunSpec, StudyRecord, TrialPlan, TrialRecord

CITED: Final = " (playbook, Round 2)."

ROUND_SKIPPED: Final = "round_skipped"
"""Decisions not to open a round that would measure nothing."""

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


def open_later_round(
    config: StudyConfig,
    study: StudyRecord,
    *,
    place: int,
    base: PhaseRecord,
    item: LaterRound | None = None,
    again: tuple[str, Length] | None = None,
) -> OpenPhase | Decision:
    """Carry the best points of the last round to a longer budget; or the decision that this would measure nothing.

    `item` is the round as far as the study's hours hold it; else it is the one that was asked for. `again`: the name
    and the length of a round that stands and is to be longer.
    """
    item, name = item or config.later_rounds[place], round_name(place) if again is None else again[0]
    if not feasible(base):
        return skipped(name, f"no trial of {base.name} was feasible, so that no point reaches it")
    length = length_of(config, study, place=place, base=base) if again is None else again[1]
    leaders = best_of_each_first([group[0] for group in ranked_points(base)], asked(config))
    best = leaders[: item.num_trials]
    decay = _new_decay(config, study, base, length)
    specs = [_extended(config, trial.spec, length=length, decay=decay) for trial in best]
    specs = [with_reserved(config, spec, rest=config.later_rounds[place + 1 :]) for spec in specs]
    trials = [
        TrialPlan(
            number=index * len(best) + order,
            params=dict(trial.params),
            spec=replace(specs[order], seed=trial_seed(config.seed, index)),
        )
        for index in range(item.num_seeds)
        for order, trial in enumerate(best)
    ]
    longer = length.steps > base.plan.max_train_steps
    twin = twin_of(best[0], trials) if longer and has_twin(config, item) else None
    if place and twin is None and _repeats(base, trials):
        return skipped(name, f"{length.why or 'it is as long'}; it would repeat {base.name}, with no seed that is new")
    opened = _opened(config, base, trials, best=best, length=length)
    opened = _with_twins(_with_low_rates(opened, base, trials), twin, twins(study), best=best)
    if longer and item.lower_rate_twin and not has_twin(config, item):
        told = "no twin runs at half the best rate, since the learning rates are what the study asks about"
        opened = replace(opened, reason=_inserted(opened.reason, told))
    plan = PhasePlan(name=name, kind=LATER, max_train_steps=length.steps, eval=base.plan.eval)
    trials += [twin] if twin else []
    decisions = (replace(opened, phase=name), replace(_carried(best), phase=name))
    return OpenPhase(plan=plan, trials=tuple(trials), decisions=decisions)


def skipped(name: str, why: str) -> Decision:
    """A round that is not opened."""
    return Decision(kind=ROUND_SKIPPED, phase=name, reason=f"{name} is not opened: {why}{CITED}")


def _repeats(base: PhaseRecord, trials: list[TrialPlan]) -> bool:
    """Whether every trial is one that the round before has measured."""
    measured = [replace(trial.spec, fork_steps=()) for trial in feasible(base)]
    return all(replace(trial.spec, fork_steps=()) in measured for trial in trials)


def twin_of(best: TrialRecord, trials: list[TrialPlan]) -> TrialPlan | None:
    """The best point's first seed at half its rate: the best rate tends to fall with the horizon (arXiv:2409.19913)."""
    rate = float(f"{TWIN_RATE * best.spec.learning_rate:.6g}")
    params = {**best.params, "learning_rate": rate}
    if any(point_key(trial.params) == point_key(params) for trial in trials):
        return None  # A carried point is the twin already.
    return TrialPlan(number=len(trials), params=params, spec=replace(trials[0].spec, learning_rate=rate))


def _new_decay(config: StudyConfig, study: StudyRecord, base: PhaseRecord, length: Length) -> int | None:
    """The decay that round 1 leaves to the rounds after it; None where a run keeps its own, as all later ones do."""
    if base.plan.kind == LATER:
        return None
    if length.carried < base.plan.max_train_steps:
        # The budget was too long: a decay that was a share of it would now be too long as well.
        return decay_steps(config, length.carried)
    return retuned_length(study)


def _extended(config: StudyConfig, spec: RunSpec, *, length: Length, decay: int | None) -> RunSpec:
    if decay is not None:
        spec = replace(spec, schedule=replace(spec.schedule, decay_steps=decay))
    return lengthened(config, spec, max_train_steps=length.steps)


def _opened(
    config: StudyConfig, base: PhaseRecord, trials: list[TrialPlan], *, best: list[TrialRecord], length: Length
) -> Decision:
    spec, num_points = trials[0].spec, len(ranked_points(base))
    num_seeds = len(trials) // len(best)
    seeds = "1 seed" if num_seeds == 1 else f"{num_seeds} seeds"
    points = "The best point" if len(best) == 1 else f"The {len(best)} best points"
    of = (
        f"{base.name} ({len(best)} of {num_points}, by their means over seeds)"
        if base.plan.kind == LATER
        else base.name
    )
    verb = "trains" if len(best) == 1 else "train"
    decay = spec.schedule.decay_steps
    stretched = "lengthen the plateau" if decay else "stretch the decay, anew at the same peak rate"
    extra = f"the extra steps {stretched}, " if spec.max_train_steps > length.carried else ""
    ends = f"the decay is {steps(decay)}" if decay else f"the schedule is {spec.schedule.kind}"
    reason = (
        f"{points} of {of} {verb} for {steps(length.steps)} ({number(length.steps / length.carried)} x "
        f"{length.carried:,}) with {seeds} each; {extra}{ends}{CITED}"
    )
    numbers = {
        "max_train_steps": length.steps,
        "carried_steps": length.carried,
        "decay_steps": decay,
        "warmup_steps": spec.schedule.warmup_steps,
        "extend": "constant" if has_plateau(config) else "cosine",
        "num_seeds": num_seeds,
        "from_phase": base.name,
        "num_points_before": num_points,
        "from_trials": [trial.trial for trial in best],
    }
    opened = Decision(kind="round_opened", reason=reason, numbers=json_safe(numbers))
    return replace(opened, reason=_inserted(reason, length.why)) if length.why else opened


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


def _with_twins(
    opened: Decision, twin: TrialPlan | None, before: list[TrialRecord], *, best: list[TrialRecord]
) -> Decision:
    told = [
        f"the lower-rate twin of {lower.phase} goes on as a point of its own"
        for lower in before
        if any(trial.trial == lower.trial for trial in best)
    ]
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
    return Decision(kind="carried_over", reason=reason, numbers=json_safe(numbers))
