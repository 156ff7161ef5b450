"""What comes next: one pure function of the config, the facts of the data, and the study as stored.

Asking twice gives the same move; nothing is remembered between calls. So resuming is asking again.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TypeVar

from tuner.analysis.verdict import MIN_FEASIBLE_TRIALS
from tuner.config.schema import StudyConfig
from tuner.protocol.answer import conclude
from tuner.protocol.collapsed import mark_collapsed, with_collapsed
from tuner.protocol.compute_bound import production_steps
from tuner.protocol.decay import retune_decay
from tuner.protocol.failures import give_up, goes_on, nothing_left
from tuner.protocol.frontier import FRONTIER, advance_frontier
from tuner.protocol.grown import grow_later_round, grow_round_1
from tuner.protocol.instability import with_proposals
from tuner.protocol.instability_probe import INSTABILITY_PROBE, Probed, advance_instability_probe
from tuner.protocol.joined import as_stored, is_extended, is_extended_since, joined
from tuner.protocol.kinds import is_compute_bound
from tuner.protocol.later_rounds import ROUND_SKIPPED, open_later_round
from tuner.protocol.lengths import one_seed_steps
from tuner.protocol.limits import (
    cut,
    cut_joining,
    cut_later_round,
    cut_round_1,
    cut_widening,
    end_out_of_time,
    fewer,
    fits,
    is_left_out,
    is_out_of_time,
    is_widening,
    least_of_later_rounds,
    leave_out,
    with_cost,
)
from tuner.protocol.measured import NOTHING_MEASURED, Measured
from tuner.protocol.next_length import LATER, place_of, round_name
from tuner.protocol.probe import advance_round_1, probe_again
from tuner.protocol.rounds import (
    ROUND_1,
    advance_round,
    check_round,
    close_round,
    feasible,
    needs_longer,
    open_longer,
    open_round_1,
    unjudgeable,
)
from tuner.protocol.run_hours import beyond_run_hours
from tuner.protocol.shared_steps import price_of
from tuner.protocol.standings import FITTED
from tuner.protocol.sweep import advance_sweep, open_sweep
from tuner.protocol.sweep_hours import SWEEP
from tuner.protocol.widening import widen
from tuner.protocol.words import steps
from tuner.records import (
    AddTrials,
    Conclude,
    Decision,
    GiveUp,
    Move,
    OpenPhase,
    PhaseRecord,
    StudyRecord,
    Wait,
    WorkloadFacts,
)

M = TypeVar("M", bound=Move)


@dataclass(frozen=True, slots=True, kw_only=True)
class Situation:
    """All that a move follows from."""

    config: StudyConfig
    facts: WorkloadFacts
    study: StudyRecord
    sharing: str
    measured: Measured


def next_move(
    config: StudyConfig,
    facts: WorkloadFacts,
    study: StudyRecord,
    *,
    sharing: str = "exact",
    measured: Measured = NOTHING_MEASURED,
) -> Move:
    """The protocol's next move (PROTOCOL 2-5): sweep, round 1 with its probes and repetitions, later rounds,
    the answer.

    `sharing` ("exact" or "statistical") is printed with the answer; `measured` is what a length in hours is made from.

    Raises:
        ConfigError: if the config does not fit the workload, found before anything is trained.
    """
    view = joined(study)
    at = Situation(config=config, facts=facts, study=view, sharing=sharing, measured=measured)
    return as_stored(view, _move(at))


def _move(at: Situation) -> Move:
    config, study = at.config, at.study
    if study.phases and is_out_of_time(config, at.measured):
        return end_out_of_time(config, study, sharing=at.sharing)
    if named := mark_collapsed(at.facts, study):
        return named
    move = _next_move(at)
    if study.phases and (config.limits.study_hours is not None or config.limits.run_hours is not None):
        if isinstance(move, OpenPhase):
            move = _within_hours(at, move)
        elif isinstance(move, AddTrials) and (told := _cut_addition(config, study, move, at.measured)):
            return _without(at, told)
    return with_proposals(config, study, with_collapsed(at.facts, study, move))


def _next_move(at: Situation) -> Move:
    config, facts, study = at.config, at.facts, at.study
    if not study.phases:
        return open_sweep(config, facts)
    sweep = study.phase(SWEEP)
    if not sweep.is_closed:
        return advance_sweep(config, facts, study=study, phase=sweep, measured=at.measured)
    rounds = _first_rounds(study)
    if not rounds:
        return _probe_instability(config, facts, study, sweep=sweep) or _first_round(config, study, sweep=sweep)
    if grown := _asked_for(study, grow_round_1(config, facts, study, rounds=rounds)):
        return grown
    if not rounds[-1].is_closed:
        if is_compute_bound(study):
            # Its budget is never adjusted, its rates may be.
            opened = rounds[-1]
            wider = None if unjudgeable(config, study, phase=opened) else widen(config, study, phase=opened)
            return wider or advance_round(config, study, phase=opened)
        return advance_round_1(config, study, phase=rounds[-1])
    return _after_round_1(config, study, rounds=rounds, sharing=at.sharing)


def _first_round(config: StudyConfig, study: StudyRecord, *, sweep: PhaseRecord, num_points: int | None = None) -> Move:
    """Round 1 with the points that were asked for, or with so many."""
    if num_points is not None:
        fewer = config.round_1.model_copy(update={"num_trials": num_points})
        config = config.model_copy(update={"round_1": fewer})
    return open_round_1(config, derived_budget(study, sweep), best_rate=_best_rate(study, sweep))


def _probe_instability(
    config: StudyConfig, facts: WorkloadFacts, study: StudyRecord, *, sweep: PhaseRecord
) -> Move | None:
    """The early probe, at twice the sweep's best rate, or at twice the one rate that all trials of the rounds have."""
    stated = None if config.search_space == "auto" or "learning_rate" in config.search_space else config.training
    rate = stated.learning_rate if stated is not None and stated.learning_rate is not None else None
    of = Probed(budget=derived_budget(study, sweep), best_rate=_best_rate(study, sweep) if rate is None else rate)
    return advance_instability_probe(config, facts, study, of=of)


def derived_budget(study: StudyRecord, sweep: PhaseRecord) -> int:
    """The budget that the sweep decided on: as decided, else the first step at which a rate fitted."""
    for decision in reversed(study.decisions):
        if decision.kind == "budget" and decision.phase == sweep.name:
            return int(decision.numbers["max_train_steps"])
    return min(trial.last_step for trial in sweep.trials if trial.outcome == FITTED)


def _best_rate(study: StudyRecord, sweep: PhaseRecord) -> float:
    """The sweep's best rate: as decided, else that of the first to fit."""
    for decision in reversed(study.decisions):
        if decision.kind == "budget" and decision.phase == sweep.name and "learning_rate" in decision.numbers:
            return float(decision.numbers["learning_rate"])
    fitted = [trial for trial in sweep.trials if trial.outcome == FITTED]
    return min(fitted, key=lambda trial: (trial.last_step, trial.number)).spec.learning_rate


def _after_round_1(config: StudyConfig, study: StudyRecord, *, rounds: list[PhaseRecord], sharing: str) -> Move:
    later = _later(study)
    if opened := next((phase for phase in later if not phase.is_closed), None):
        return advance_round(config, study, phase=opened)
    if not is_compute_bound(study) and (move := _asked_for(study, probe_again(config, study, phase=rounds[-1]))):
        return move
    may_adjust = not is_compute_bound(study) and (not later or is_extended_since(study, later[-1]))
    if may_adjust and (move := _asked_for(study, _adjusted(config, study, rounds=rounds))):
        return move
    return _next_round(config, study, rounds=rounds, sharing=sharing)


def _next_round(
    config: StudyConfig, study: StudyRecord, *, rounds: list[PhaseRecord], sharing: str, first: int = 0
) -> Move:
    """The next later round with something to measure, from a place on; the answer if there is none."""
    later, passed = _later(study), list[Decision]()
    judged = [phase for phase in rounds if feasible(phase)]
    if not judged:
        return give_up(nothing_left(rounds[-1]), phase=rounds[-1].name)
    base, first = judged[-1], max(first, place_of(later[-1].plan) + 1 if later else 0)
    for place in range(len(config.later_rounds)):
        move: OpenPhase | Decision | None
        if stands := [phase for phase in later if place_of(phase.plan) == place]:
            move = _asked_for(study, grow_later_round(config, study, place=place, base=base, stands=stands))
            base = stands[-1]
        elif place >= first:
            move = open_later_round(config, study, place=place, base=base)
            if isinstance(move, OpenPhase) and is_left_out(study, move.plan.name):
                break  # What would follow is longer still.
        else:
            continue  # It was skipped, and rounds after it stand.
        if isinstance(move, OpenPhase):
            return replace(move, decisions=(*passed, *move.decisions))
        passed += [move] if move is not None else []
    end = conclude(study, sharing=sharing)
    beyond = advance_frontier(config, study, end.answer)
    return replace(end, decisions=(*passed, *end.decisions)) if beyond is None else beyond


def _asked_for(study: StudyRecord, move: M | None) -> M | None:
    """A move, unless what it opens was left out for want of hours."""
    name = move.plan.name if isinstance(move, OpenPhase) else move.phase if isinstance(move, AddTrials) else None
    return None if name is not None and is_left_out(study, name) else move


def _base(study: StudyRecord, rounds: list[PhaseRecord]) -> PhaseRecord:
    """The round whose points go on to the next later one."""
    later = _later(study)
    return later[-1] if later else [phase for phase in rounds if feasible(phase)][-1]


def _first_rounds(study: StudyRecord) -> list[PhaseRecord]:
    """Round 1, then the longer ones that it became."""
    return [phase for phase in study.phases if phase.plan.kind == "round_1"]


def _later(study: StudyRecord) -> list[PhaseRecord]:
    return [phase for phase in study.phases if phase.plan.kind == LATER]


def _within_hours(at: Situation, move: OpenPhase) -> Move:
    """The phase as far as the hours hold it, with its cost; what comes after it, if it is skipped."""
    config, study, measured = at.config, at.study, at.measured
    kind, rounds = move.plan.kind, _first_rounds(study)
    if kind == "cooldown":
        return with_cost(config, study, move, measured)
    if kind == "round_1" and not rounds:
        return _round_1_within_hours(config, study, move, measured=measured)
    if kind == LATER and move.plan.name == round_name(place_of(move.plan)):
        return _later_round_within_hours(at, move)
    skipped = _is_too_long(config, study, move, measured)
    needed, each = price_of(study, move, measured), move.plan.max_train_steps
    # What an extension asks for comes first: it was asked for with what stands in view.
    after = least_of_later_rounds(config, each) if kind == "round_1" and not is_extended(study) else 0
    beside = _least_of_round_1(config, study) if kind == INSTABILITY_PROBE else after
    if skipped is None and fits(config, measured, needed.steps + beside, longest=needed.longest):
        return with_cost(config, study, move, measured)
    if skipped is None:
        what = f"{move.plan.name} is skipped" + (" for the rounds after it" if after else "")
        skipped = cut(None, what, config, measured, num_steps=needed.steps + beside, longest=needed.longest)
    if kind == "probe" and not rounds[-1].is_closed:
        judged = rounds[-1]
        close = close_round(config, study, phase=judged, check=check_round(config, study, phase=judged))
        return replace(close, decisions=(skipped, *close.decisions))
    if kind == FRONTIER:
        return _with_before(conclude(study, sharing=at.sharing), (skipped,))
    if kind == INSTABILITY_PROBE:
        first = _first_round(config, study, sweep=study.phase(SWEEP))
        return _with_before(_within_hours(at, first) if isinstance(first, OpenPhase) else first, (skipped,))
    return _without(at, leave_out(skipped, move.plan.name))


def _without(at: Situation, told: Decision) -> Move:
    """What comes next once it is decided to leave something out; the decision is committed with it."""
    narrow = replace(at.study, decisions=(*at.study.decisions, told))
    after = _move(replace(at, study=narrow))
    # While others of the study train, nothing is committed: it is decided again with the move that comes then.
    return after if isinstance(after, Wait) else replace(after, decisions=(told, *after.decisions))


def _round_1_within_hours(config: StudyConfig, study: StudyRecord, move: OpenPhase, *, measured: Measured) -> Move:
    """Round 1 with the points that fit; the end of the study if not one trial of it does."""
    if too_long := _is_too_long(config, study, move, measured):
        reason = f"{too_long.reason.removesuffix('.')}; {goes_on(config, 'limits.run_hours')}"
        return give_up(reason, phase=move.plan.name, numbers=too_long.numbers)

    def opened_with(num_points: int) -> Move:
        return _first_round(config, study, sweep=study.phase(SWEEP), num_points=num_points)

    production = production_steps(study)
    first = cut_round_1(config, move, measured, production=production, opened_with=opened_with)
    return first if isinstance(first, GiveUp) else with_cost(config, study, first, measured)


def _later_round_within_hours(at: Situation, move: OpenPhase) -> Move:
    """A later round with the trials that fit; the next one if those measure nothing; no later one if none fits."""
    config, study, measured = at.config, at.study, at.measured
    rounds = _first_rounds(study)
    place, base = place_of(move.plan), _base(study, rounds)
    left_out: tuple[Decision, ...] = ()
    if too_long := _is_too_long(config, study, move, measured):
        left_out = (too_long,)
    else:
        beside = one_seed_steps(config, move.plan.max_train_steps, production=production_steps(study), place=place + 1)
        items = fewer(config.later_rounds[place])
        tries = [open_later_round(config, study, place=place, base=base, item=item) for item in items]
        fitting = cut_later_round(config, study, move, measured, tries=tries, beside=beside)
        if isinstance(fitting, OpenPhase):
            return with_cost(config, study, fitting, measured)
        left_out = fitting
    before = tuple(decision for decision in move.decisions if decision.phase != move.plan.name)
    if left_out[-1].kind == ROUND_SKIPPED:
        after = _next_round(config, study, rounds=rounds, sharing=at.sharing, first=place + 1)
        if isinstance(after, OpenPhase):
            after = _within_hours(at, after)
        return _with_before(after, (*before, *left_out))
    return _with_before(_without(at, leave_out(left_out[-1], move.plan.name)), before)


def _with_before(move: Move, before: tuple[Decision, ...]) -> Move:
    """A move after what was left out before it."""
    assert isinstance(move, OpenPhase | Conclude | GiveUp)
    return replace(move, decisions=(*before, *move.decisions))


def _is_too_long(config: StudyConfig, study: StudyRecord, move: OpenPhase, measured: Measured) -> Decision | None:
    """The decision to leave a phase out whose runs are longer than run_hours buy."""
    name, longest = move.plan.name, move.plan.max_train_steps
    what, remedy = f"{name}, {steps(longest)} a trial, is skipped", ", or give the study a shorter budget"
    if move.plan.kind == "round_1" and name == ROUND_1:
        what = f"not one run of {name}, {steps(longest)} a trial, may take its time"
    elif move.plan.kind == LATER:
        what += " with the rounds after it" if place_of(move.plan) + 1 < len(config.later_rounds) else ""
        if config.later_rounds[place_of(move.plan)].budget_multiple != 1:
            remedy = ", or lower the multiples (budget_multiple)"
    elif move.plan.kind == FRONTIER:
        remedy = ", or lower frontier.budgets"
    return beyond_run_hours(config, study, measured, longest=longest, what=what, remedy=remedy)


def _cut_addition(config: StudyConfig, study: StudyRecord, move: AddTrials, measured: Measured) -> Decision | None:
    """The decision to leave out what would join an open phase, None if it fits."""
    if is_widening(move):
        return cut_widening(config, study, move, measured)
    if study.phase(move.phase).plan.kind == "round_1" and is_extended(study):
        return cut_joining(config, study, move, measured)
    if move.phase != INSTABILITY_PROBE:
        return None
    each, what = move.trials[0].spec.max_train_steps, "no longer warmup is tried"
    too_long = beyond_run_hours(config, study, measured, longest=each, what=what)
    if too_long is not None:
        return replace(too_long, phase=move.phase)
    needed = each + _least_of_round_1(config, study)
    if fits(config, measured, needed, longest=each):
        return None
    return cut(move.phase, what, config, measured, num_steps=needed, longest=each)


def _least_of_round_1(config: StudyConfig, study: StudyRecord) -> int:
    """Steps of a round 1 that can be judged: the early probe is asked for beside it, never in its place."""
    return min(config.round_1.num_trials, MIN_FEASIBLE_TRIALS) * derived_budget(study, study.phase(SWEEP))


def _adjusted(config: StudyConfig, study: StudyRecord, *, rounds: list[PhaseRecord]) -> Move | None:
    """A longer round 1, as far as the hours hold one, then its decay tuned anew; None when the budget stays."""
    if needs_longer(config, rounds):
        longer = open_longer(config, rounds)
        if not is_left_out(study, longer.plan.name):
            return longer
    return retune_decay(config, study, rounds=rounds)
