"""`round_2`: few long trials of the best points, more than one seed each.

After the playbook's Round 2 (PROTOCOL 5). The extra steps go to the high rate: decay length and warmup stay, the
plateau grows, so that the first seed of each point continues its round-1 trial. Further seeds are trunks of their own.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final, Literal

from tuner.analysis.best_steps import sign_of
from tuner.config.schema import StudyConfig
from tuner.protocol.rounds import feasible
from tuner.protocol.runs import decay_steps, lengthened, trial_seed
from tuner.protocol.words import json_safe, number, point, steps
from tuner.records import Decision, OpenPhase, PhasePlan, PhaseRecord, RunSpec, StudyRecord, TrialPlan, TrialRecord

ROUND_2: Final = "round_2"

Transferability = Literal["likely", "might", "unlikely", "unknown"]

_TRANSFER: dict[str, tuple[Transferability, str]] = {
    "learning_rate": ("unlikely", "learning-rate schedule"),
    **dict.fromkeys(("beta1", "beta2", "epsilon", "momentum", "max_grad_norm"), ("might", "optimizer setting")),
    **dict.fromkeys(("weight_decay", "dropout", "label_smoothing"), ("might", "regularisation")),
    **dict.fromkeys(("hidden_size", "num_layers", "num_heads", "intermediate_size"), ("likely", "architecture")),
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
    carried, (num_seeds, multiple) = (
        carried_steps(study, base),
        (config.round_2.num_seeds, config.round_2.budget_multiple),
    )
    budget = max(1, round(multiple * carried))
    best = ranked(base)[: config.round_2.num_trials]
    trials = tuple(
        TrialPlan(
            number=index * len(best) + place,
            params=dict(trial.params),
            spec=_extended(config, trial.spec, carried=carried, budget=budget, seed=trial_seed(config.seed, index)),
        )
        for index in range(num_seeds)
        for place, trial in enumerate(best)
    )
    plan = PhasePlan(name=ROUND_2, kind=ROUND_2, max_train_steps=budget, eval=base.plan.eval)
    return OpenPhase(
        plan=plan, trials=trials, decisions=(_opened(base, trials, best=best, carried=carried), _carried(best))
    )


def carried_steps(study: StudyRecord, base: PhaseRecord) -> int:
    """The budget that round 1's verdict carried forward: as decided, never measured again."""
    for decision in reversed(study.decisions):
        if decision.kind == "verdict" and decision.phase == base.name:
            return int(decision.numbers["carried_steps"])
    return base.plan.max_train_steps


def _extended(config: StudyConfig, spec: RunSpec, *, carried: int, budget: int, seed: int) -> RunSpec:
    if carried < spec.max_train_steps:
        # The budget was too long: a decay that was a share of it would now be too long as well.
        spec = replace(spec, schedule=replace(spec.schedule, decay_steps=decay_steps(config, carried)))
    return lengthened(config, spec, max_train_steps=budget, seed=seed)


def _opened(base: PhaseRecord, trials: tuple[TrialPlan, ...], *, best: list[TrialRecord], carried: int) -> Decision:
    spec = trials[0].spec
    num_seeds = len(trials) // len(best)
    seeds = "1 seed" if num_seeds == 1 else f"{num_seeds} seeds"
    points = "The best point" if len(best) == 1 else f"The {len(best)} best points"
    verb = "trains" if len(best) == 1 else "train"
    reason = (
        f"{points} of {base.name} {verb} for {steps(spec.max_train_steps)} ({number(spec.max_train_steps / carried)} x "
        f"{carried:,}) with {seeds} each; the extra steps lengthen the plateau, the decay is "
        f"{steps(spec.schedule.decay_steps)} (playbook, Round 2)."
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


def _carried(best: list[TrialRecord]) -> Decision:
    names = list(dict.fromkeys(name for trial in best for name in trial.params))
    classes = {name: transfer_class(name) for name in names}
    told = "; ".join(f"{name}: {classes[name][0]} to transfer ({classes[name][1]})" for name in names)
    reason = (
        f"Every tuned value is kept as it was ({point(best[0].params)} leads): {told or 'nothing was tuned'}; "
        "warmup length is kept too and very likely to transfer (playbook, Round 2)."
    )
    numbers = {
        "points": [dict(trial.params) for trial in best],
        "transfer": {name: {"class": c, "as": kind, "done": "kept"} for name, (c, kind) in classes.items()},
    }
    return Decision(kind="carried_over", phase=ROUND_2, reason=reason, numbers=json_safe(numbers))
