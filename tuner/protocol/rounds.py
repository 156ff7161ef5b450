"""`round_1` and its longer repetitions: many short trials, then a verdict on how short they were.

After the playbook's Round 1 (PROTOCOL 3 and 4). A budget that is too short doubles for the same points, which continue
from their plateaus; one that is too long is never rerun shorter, the smaller budget is only carried forward.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict
from math import ceil
from typing import Final

from tuner.analysis.second_metric import SAME_AS_LOSS, SecondMetric, compare_with_loss
from tuner.analysis.transfer import point_key
from tuner.analysis.verdict import MIN_EVALUATIONS, Adjust, BudgetCheck, judge_budget
from tuner.config.auto_space import auto_space
from tuner.config.resolve import eval_spec
from tuner.config.schema import Dimension, StudyConfig
from tuner.protocol.averaged import averaged_numbers, averaged_of, told_averaged
from tuner.protocol.failures import give_up, nothing_left
from tuner.protocol.generations import first_points, is_adaptive, next_generation
from tuner.protocol.kinds import is_compute_bound
from tuner.protocol.runs import check_schedule, decay_steps, doubled, eval_cadence, warmup_steps
from tuner.protocol.scientific import told_even, why_not_widened
from tuner.protocol.space import SPACE, told_space
from tuner.protocol.words import json_safe, number, steps
from tuner.records import (
    VALIDATION,
    ClosePhase,
    Curve,
    Decision,
    Json,
    Move,
    OpenPhase,
    PhasePlan,
    PhaseRecord,
    StudyRecord,
    TrialPlan,
    TrialRecord,
    Wait,
)

ROUND_1: Final = "round_1"
CITED: Final = " (playbook, Round 1)."

GROWTH = 2
"""The next budget of a round that was too short, as a multiple (ours)."""

MARGIN_OVER_GOOD_STEP = 1.5
"""The budget carried forward from a round that was too long, as a multiple of the latest first good step (ours)."""


def feasible(phase: PhaseRecord) -> tuple[TrialRecord, ...]:
    """The trials that may be judged and ranked. Infeasible and crashed ones are not, for different reasons."""
    return tuple(trial for trial in phase.trials if trial.is_feasible and trial.best_value is not None)


def distinct(trials: Iterable[TrialRecord]) -> list[TrialRecord]:
    """The first trial of each point: a point that a small search space gave twice is no second piece of evidence."""
    first: dict[str, TrialRecord] = {}
    for trial in trials:
        first.setdefault(point_key(trial.params), trial)
    return list(first.values())


def open_round_1(config: StudyConfig, budget: int, *, best_rate: float) -> Move:
    """Round 1 at the sweep's budget; its points are still to be proposed by the search.

    `best_rate` is the sweep's, from which `search_space: auto` follows.
    """
    warmup, decay = warmup_steps(config, budget), decay_steps(config, budget)
    if problem := check_schedule(warmup, decay, budget=budget, budget_name="the budget derived by the sweep"):
        return give_up(problem, phase=ROUND_1)
    plan = PhasePlan(name=ROUND_1, kind=ROUND_1, max_train_steps=budget, eval=eval_spec(config))
    num_points = config.round_1.num_trials
    rest = f"a plateau, and a {decay}-step decay" if decay else f"and a {config.training.schedule} decay to the end"
    reason = f"{num_points} points train for {steps(budget)}: {warmup} of warmup, {rest}{CITED}"
    if is_adaptive(config):
        reason = (
            f"{reason.removesuffix(CITED)}; {config.round_1.sampler} proposes them {config.round_1.parallelism} at a "
            f"time{CITED}"
        )
    if told := few_evaluations(config, budget):
        reason = f"{reason.removesuffix(CITED)}; warning: {told}{CITED}"
    numbers: dict[str, Json] = {
        "max_train_steps": budget,
        "num_trials": num_points,
        "warmup_steps": warmup,
        "decay_steps": decay,
        "eval_every_steps": eval_cadence(config, budget),
    }
    for more in filter(None, (told_even(config), why_not_widened(config))):
        reason = f"{reason.removesuffix(CITED)}; {more}{CITED}"
    if config.search_space == "auto":
        space = auto_space(config, best_rate)
        reason = f"{reason.removesuffix(CITED)}; they search {_told_auto(space, best_rate)}{CITED}"
        numbers[SPACE] = told_space(space)
    decision = Decision(kind="round_opened", phase=ROUND_1, reason=reason, numbers=json_safe(numbers))
    return OpenPhase(plan=plan, num_points=first_points(config), decisions=(decision,))


def few_evaluations(config: StudyConfig, budget: int) -> str | None:
    """Why a round's budget cannot be judged by its evaluations, with what would help; None if it can."""
    every = eval_cadence(config, budget)
    if budget // every >= MIN_EVALUATIONS:
        return None
    told = f"{budget // every} evaluations in {steps(budget)} are fewer than the {MIN_EVALUATIONS} that judge a budget"
    if budget < MIN_EVALUATIONS:
        return f"{told}, and so short a one holds no more"
    return f"{told}: evaluation.every_steps={every} would have to be at most {budget // MIN_EVALUATIONS}"


def _told_auto(space: Mapping[str, Dimension], best_rate: float) -> str:
    ranges = (f"{name} {number(d.low or 0)} to {number(d.high or 0)}" for name, d in space.items())
    return f"{', '.join(ranges)} (search_space: auto; the sweep's best rate was {number(best_rate)})"


def advance_round(config: StudyConfig, study: StudyRecord, *, phase: PhaseRecord) -> Move:
    """Wait for an open round's trials, then close it with its verdict; give up if round 1 has nothing to judge."""
    return unjudgeable(config, study, phase=phase) or close_round(
        config, study, phase=phase, check=check_round(config, study, phase=phase)
    )


def unjudgeable(config: StudyConfig, study: StudyRecord, *, phase: PhaseRecord) -> Move | None:
    """What to do instead of judging a round: wait, ask for more points, or give up; None if it may be judged."""
    if not all(trial.is_ended for trial in phase.trials):
        return Wait()
    if phase.name == ROUND_1 and (more := next_generation(config, study.decisions, phase)):
        return more
    if phase.name == ROUND_1 and not feasible(phase):
        return give_up(nothing_left(phase), phase=phase.name)
    return None


def close_round(config: StudyConfig, study: StudyRecord, *, phase: PhaseRecord, check: BudgetCheck) -> ClosePhase:
    """End a round with its verdict, and all that the verdict is to be read with."""
    carried, averaged = carried_budget(check, phase), averaged_of(config, study, phase=phase, check=check)
    reason = f"{phase.name} at {steps(check.max_train_steps)} is {check.verdict}: {check.reason}"
    if missing := len(phase.trials) - check.num_feasible:
        reason += f" ({missing} of {len(phase.trials)} trials infeasible or crashed)"
    reason += f"; best steps are known to one evaluation interval, {steps(check.eval_every_steps)}"
    if averaged is not None:
        reason += f"; {told_averaged(averaged)}"
    second = second_metric(study, phase)
    if second is not None and second.differs:
        reason += (
            f"; warning: the median trial is best in {second.objective_band} by {phase.plan.eval.metric} and in "
            f"{second.loss_band} by loss, so that the choice of metric decides this verdict"
        )
    if phase.plan.kind == "round_1" and is_compute_bound(study):
        reason += "; compute-bound: the budget is judged and reported, never adjusted"
    elif carried < check.max_train_steps:
        reason += f"; {steps(carried)} are carried forward, nothing is rerun shorter"
    section = "Round 2" if phase.plan.kind == "round_2" else "Round 1"
    numbers = asdict(check) | {"carried_steps": carried, "second_metric": second and asdict(second)}
    if averaged is not None:
        numbers["averaged"] = averaged_numbers(averaged)
    decision = Decision(
        kind="verdict", phase=phase.name, reason=f"{reason} (playbook, {section}).", numbers=json_safe(numbers)
    )
    return ClosePhase(phase=phase.name, verdict=check.verdict, reason=f"{reason}.", decisions=(decision,))


def second_metric(study: StudyRecord, phase: PhaseRecord) -> SecondMetric | None:
    """Best steps of a round under the loss beside those under the objective; None if they cannot differ."""
    plan, trials = phase.plan, [trial.trial for trial in feasible(phase)]
    if plan.eval.metric in SAME_AS_LOSS:
        return None
    return compare_with_loss(
        {trial: study.curve(trial, VALIDATION, plan.eval.metric) for trial in trials},
        {trial: study.curve(trial, VALIDATION, "loss") for trial in trials},
        plan.max_train_steps,
        direction=plan.eval.direction,
    )


def check_round(config: StudyConfig, study: StudyRecord, *, phase: PhaseRecord) -> BudgetCheck:
    """The verdict on a round's budget with its counts: what decided is what the report shows."""
    plan = phase.plan
    curves: dict[int, Curve] = {
        trial.trial: study.curve(trial.trial, VALIDATION, plan.eval.metric) for trial in feasible(phase)
    }
    cadence = phase.trials[0].spec.eval_every_steps if phase.trials else eval_cadence(config, plan.max_train_steps)
    return judge_budget(
        curves,
        plan.max_train_steps,
        direction=plan.eval.direction,
        eval_every_steps=cadence,
        adjust=_adjust(config, study, phase),
    )


def _adjust(config: StudyConfig, study: StudyRecord, phase: PhaseRecord) -> Adjust:
    """How the bands are read: averaged weights only decide whether the probe of a late round is run."""
    chosen = config.round_1.adjust
    if chosen == "probe" or chosen == "averaged":
        return "probe" if _is_probed(study, phase) else "none"
    return chosen


def _is_probed(study: StudyRecord, phase: PhaseRecord) -> bool:
    """Whether longer training may still be measured for a round; others are only judged."""
    return phase.plan.kind == ROUND_1 and not is_compute_bound(study)


def carried_budget(check: BudgetCheck, phase: PhaseRecord) -> int:
    """The budget that the next round multiplies: this one's, or a smaller one if it was too long.

    Never so small that warmup would outlast half of what the decay leaves.
    """
    latest = check.latest_good_step_of_leaders
    if check.verdict != "too long" or latest is None or phase.plan.kind != "round_1":
        return check.max_train_steps
    schedule = phase.trials[0].spec.schedule
    plateau_share = 1 - schedule.decay_steps / check.max_train_steps
    floor = ceil(2 * schedule.warmup_steps / plateau_share) if plateau_share > 0 else check.max_train_steps
    return min(check.max_train_steps, max(ceil(MARGIN_OVER_GOOD_STEP * latest), floor))


def needs_longer(config: StudyConfig, rounds: list[PhaseRecord]) -> bool:
    """Whether the last of the round-1 phases was too short and may still grow."""
    num_adjustments = len(rounds) - 1
    return rounds[-1].verdict == "too short" and num_adjustments < config.round_1.max_adjustments


def open_longer(config: StudyConfig, rounds: list[PhaseRecord]) -> OpenPhase:
    """The same points at twice the budget, forked from the plateaus of the shorter phase (PROTOCOL 4 and 8)."""
    last = rounds[-1]
    before, budget = last.plan.max_train_steps, GROWTH * last.plan.max_train_steps
    name = f"{ROUND_1}.{len(rounds) + 1}"
    trials = tuple(
        TrialPlan(
            number=trial.number,
            params=dict(trial.params),
            spec=doubled(config, trial.spec, max_train_steps=budget),
        )
        for trial in last.trials
    )
    decay = trials[0].spec.schedule.decay_steps
    share = decay / budget
    done = (
        f"go on to {steps(budget)} from their plateaus, the decay stays {steps(decay)} ({number(100 * share)} % of the "
        "new budget)"
        if decay
        else f"train anew to {steps(budget)}, as a {config.training.schedule} schedule over another horizon "
        "shares no more than the warmup"
    )
    reason = (
        f"{last.name} was too short at {steps(before)}: the same {len(trials)} points {done} "
        f"(playbook, Round 1; adjustment {len(rounds)} of at most {config.round_1.max_adjustments})."
    )
    numbers = {"from_steps": before, "max_train_steps": budget, "decay_steps": decay, "adjustment": len(rounds)}
    decision = Decision(kind="adjusted", phase=name, reason=reason, numbers=json_safe(numbers))
    plan = PhasePlan(name=name, kind=ROUND_1, max_train_steps=budget, eval=last.plan.eval)
    return OpenPhase(plan=plan, trials=trials, decisions=(decision,))
