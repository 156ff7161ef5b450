"""How a study can end without an answer, each with the setting, the value found and what would help (exit 3)."""

from __future__ import annotations

import shlex
from collections.abc import Mapping

from tuner.config.schema import StudyConfig
from tuner.protocol.grid import grid
from tuner.protocol.standings import Standings, learning_rate_of
from tuner.protocol.words import crash_reasons, json_safe, number, steps
from tuner.records import Curve, Decision, FitRule, GiveUp, Json, PhaseRecord, TrialRecord

AS_ANOTHER = "run the changed study under another name: it will still share what agrees"


def goes_on(config: StudyConfig, *settings: str) -> str:
    """How the study goes on with one of these settings raised, and how any other change is made."""
    name, raised = shlex.quote(config.study), " or ".join(f"{setting}=..." for setting in settings)
    return f"`tuner extend {name} {raised}` goes on with this study; for any other change, {AS_ANOTHER}"


def give_up(reason: str, *, phase: str, numbers: Mapping[str, Json] | None = None) -> GiveUp:
    """End the study with a reason, kept as a decision too."""
    decision = Decision(kind="gave_up", phase=phase, reason=reason, numbers=json_safe(dict(numbers or {})))
    return GiveUp(reason=reason, decisions=(decision,))


PRODUCTION_STEPS = "budget.production_steps"
LENGTHS = (
    f"if longer runs would help for ever (compute-bound), state their length: {PRODUCTION_STEPS}, or limits: "
    "{run_hours: ...}"
)


def no_length(config: StudyConfig, kind: Decision) -> GiveUp:
    """Known to be compute-bound before any step, and nothing says how long is long."""
    reason = f"{kind.reason.removesuffix('.')}: {LENGTHS}; {goes_on(config, PRODUCTION_STEPS)}"
    return give_up(reason, phase="budget_sweep", numbers=kind.numbers)


def never_moved(config: StudyConfig, goal: FitRule, *, found: Standings, first: float) -> GiveUp:
    """The level that the sweep came to is where it already was at its first evaluation."""
    every = found.fastest.trial.spec.eval_every_steps
    reason = (
        f"train {goal.metric} is at its first evaluation ({steps(every)}) already within 2 % of what it comes to "
        f"({number(first)}, to {number(goal.at_most)}): nothing was learned after it. Raise or lower "
        f"budget_sweep.learning_rates (low={number(grid(config)[0])}, high={number(grid(config)[-1])}), or lower "
        f"budget.first_guess_steps={config.budget.first_guess_steps} to evaluate earlier; {AS_ANOTHER}"
    )
    return give_up(reason, phase="budget_sweep", numbers={"first": first, "at_most": goal.at_most})


def nothing_ended(config: StudyConfig, phase: PhaseRecord, *, leader: TrialRecord, curve: Curve) -> GiveUp:
    """The longest run allowed ended in nothing; `curve` is what the sweep watches, of the leading rate."""
    if phase.plan.fit is not None:
        return nothing_fitted(config, phase.plan.fit, leader=leader, curve=curve)
    rate, longest = learning_rate_of(leader), config.budget.max_steps
    lowest = min((value for _, value in curve), default=float("inf"))
    where, settings = _end_of_sweep(config, leader)
    reason = f"train loss has not come to rest within {where}; "
    if curve and lowest >= curve[0][1]:
        reason += (
            f"it only rose from its first evaluation ({number(lowest)}): lower budget_sweep.learning_rates "
            f"(low={number(grid(config)[0])}, high={number(grid(config)[-1])}); {AS_ANOTHER}"
        )
    else:
        reason += f"its lowest was {number(lowest)}, at learning_rate {number(rate)}. Raise {' or '.join(settings)}; "
        reason += f"{LENGTHS}; "
        reason += "or state a threshold, budget.perfect_fit: {metric: loss, at_most: ...}; "
        reason += goes_on(config, *settings, PRODUCTION_STEPS)
    numbers = {"lowest": lowest, "learning_rate": rate, "max_steps": longest}
    return give_up(reason, phase="budget_sweep", numbers=numbers)


def nothing_fitted(config: StudyConfig, fit: FitRule, *, leader: TrialRecord, curve: Curve) -> GiveUp:
    """The longest run allowed did not reach the threshold; `curve` is the fit metric of the leading rate."""
    rate, longest = learning_rate_of(leader), config.budget.max_steps
    first = curve[0][1] if curve else float("inf")
    lowest = min((value for _, value in curve), default=float("inf"))
    lowest_after = min((value for _, value in curve[1:]), default=float("-inf"))
    where, settings = _end_of_sweep(config, leader)
    reason = (
        f"budget.perfect_fit.at_most={number(fit.at_most)}: no rate reached this train {fit.metric} within "
        f"{where}; the lowest was {number(lowest)}, at learning_rate {number(rate)}"
    )
    if lowest_after >= first:
        reason += (
            f", at its first evaluation, and it only rose from there: lower budget_sweep.learning_rates "
            f"(low={number(grid(config)[0])}, high={number(grid(config)[-1])}), {AS_ANOTHER}"
        )
    else:
        reason += f". {_remedies(config, rate, lowest=lowest, settings=settings)}"
    numbers = {"at_most": fit.at_most, "lowest": lowest, "learning_rate": rate, "max_steps": longest}
    return give_up(reason, phase="budget_sweep", numbers=numbers)


def _end_of_sweep(config: StudyConfig, leader: TrialRecord) -> tuple[str, list[str]]:
    """Where the sweep ended, and the settings that ended it there."""
    given = {name: hours for name, hours in config.limits.model_dump().items() if hours is not None}
    if leader.last_step >= config.budget.max_steps or not given:
        return f"budget.max_steps={config.budget.max_steps}", ["budget.max_steps"]
    told = " or ".join(f"limits.{name}={number(hours)}" for name, hours in given.items())
    return f"{steps(leader.last_step)}, where {told} end the sweep", [f"limits.{name}" for name in given]


def _remedies(config: StudyConfig, rate: float, *, lowest: float, settings: list[str]) -> str:
    text = (
        f"Raise budget.perfect_fit.at_most above {number(lowest)}, or raise {' or '.join(settings)}, or enlarge the "
        "model: one that cannot fit its training set will hardly be helped by regularisation (playbook, Step 0)"
    )
    rates = grid(config)
    if rate in (rates[0], rates[-1]):
        end = "low" if rate == rates[0] else "high"
        text += f"; or move budget_sweep.learning_rates.{end}={number(rate)}, since the best rate is on this edge"
    if config.workload_kind == "auto":
        text, settings = f"{text}; or, {LENGTHS}", [*settings, PRODUCTION_STEPS]
    return f"{text}; {goes_on(config, *settings)}"


def still_on_edge(config: StudyConfig, found: Standings) -> GiveUp:
    """The grid may grow no further, and the fastest rate is still its first or last."""
    sweep, rate = config.budget_sweep, found.fastest.learning_rate
    end = "high" if found.edge == "upper" else "low"
    verb = "Raise" if end == "high" else "Lower"
    reason = (
        f"budget_sweep.max_widenings={sweep.max_widenings} used up, and the fastest rate {number(rate)} "
        f"({steps(found.fastest_step)}) still lies on the {found.edge} edge of the grid: a budget from it could be far "
        f"too long (playbook, Step 1a). {verb} budget_sweep.learning_rates.{end} beyond {number(rate)}, or raise "
        f"budget_sweep.max_widenings; {goes_on(config, 'budget_sweep.max_widenings')}"
    )
    numbers = {"edge": found.edge, "learning_rate": rate, "steps_to_fit": found.fastest_step}
    return give_up(reason, phase="budget_sweep", numbers=numbers)


def nothing_left(phase: PhaseRecord) -> str:
    """Why a phase has no feasible trial, and what would help."""
    crashes = crash_reasons(phase.trials)
    infeasible = [t for t in phase.trials if t.outcome is not None and t.outcome.kind == "infeasible"]
    if not infeasible:
        what = f"{phase.name}: all {len(phase.trials)} trials crashed ({crashes})"
        return f"{what}; see the log of the first one, mend the cause and run the study again under another name"
    is_sweep = phase.plan.kind == "budget_sweep"
    if is_sweep and len(infeasible) == len(phase.trials) and all(_was_never_finite(trial) for trial in infeasible):
        return (
            f"{phase.name}: the loss is not finite at any of the {len(infeasible)} trials, whatever the learning rate, "
            "from before the first evaluation: look for NaN or infinity in the data and in what the workload's "
            f"loss_sum returns, mend the cause; {AS_ANOTHER}"
        )
    names = ", ".join(dict.fromkeys(t.outcome.reason for t in infeasible if t.outcome is not None))
    also = f", the others crashed ({crashes})" if crashes else ""
    rates = f"learning rates {number(min(t.spec.learning_rate for t in infeasible))} and above"
    where = "budget_sweep.learning_rates" if is_sweep else "search_space.learning_rate"
    return (
        f"{phase.name}: {len(infeasible)} of {len(phase.trials)} trials are infeasible ({names}){also}, at {rates}; "
        f"lower {where}, lengthen training.warmup_steps, or clip harder (training.max_grad_norm; playbook, "
        f"instability); {AS_ANOTHER}"
    )


def _was_never_finite(trial: TrialRecord) -> bool:
    return trial.num_evals == 0 and trial.outcome is not None and trial.outcome.reason == "non-finite"
