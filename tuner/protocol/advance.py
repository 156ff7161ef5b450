"""What comes next: one pure function of the config, the facts of the data, and the study as stored.

Asking twice gives the same move; nothing is remembered between calls. So resuming is asking again.
"""

from __future__ import annotations

from dataclasses import replace

from tuner.analysis.verdict import MIN_FEASIBLE_TRIALS
from tuner.config.schema import StudyConfig
from tuner.protocol.answer import conclude
from tuner.protocol.collapsed import mark_collapsed, with_collapsed
from tuner.protocol.compute_bound import production_steps
from tuner.protocol.decay import retune_decay
from tuner.protocol.instability import with_proposals
from tuner.protocol.instability_probe import INSTABILITY_PROBE, Probed, advance_instability_probe
from tuner.protocol.kinds import is_compute_bound
from tuner.protocol.limits import (
    cut,
    cut_round_1,
    cut_round_2,
    end_out_of_time,
    fits,
    is_out_of_time,
    steps_of,
    with_cost,
)
from tuner.protocol.measured import NOTHING_MEASURED, Measured
from tuner.protocol.probe import advance_round_1
from tuner.protocol.rounds import (
    advance_round,
    check_round,
    close_round,
    feasible,
    needs_longer,
    open_longer,
    open_round_1,
)
from tuner.protocol.second_round import open_round_2
from tuner.protocol.standings import FITTED
from tuner.protocol.sweep import SWEEP, advance_sweep, open_sweep
from tuner.records import Conclude, GiveUp, Move, OpenPhase, PhaseRecord, StudyRecord, WorkloadFacts


def next_move(
    config: StudyConfig,
    facts: WorkloadFacts,
    study: StudyRecord,
    *,
    sharing: str = "exact",
    measured: Measured = NOTHING_MEASURED,
) -> Move:
    """The protocol's next move (PROTOCOL 2-5): sweep, round 1 with its probes and repetitions, round 2, the
    answer.

    `sharing` ("exact" or "statistical") is printed with the answer; `measured` is what a length in hours is made from.

    Raises:
        ConfigError: if the config does not fit the workload, found before anything is trained.
    """
    if study.phases and is_out_of_time(config, measured):
        return end_out_of_time(config, study, sharing=sharing)
    if named := mark_collapsed(facts, study):
        return named
    move = _next_move(config, facts, study, sharing=sharing, measured=measured)
    if isinstance(move, OpenPhase) and config.limits.study_hours is not None and study.phases:
        move = _within_hours(config, study, move, sharing=sharing, measured=measured)
    return with_proposals(config, study, with_collapsed(facts, study, move))


def _next_move(
    config: StudyConfig, facts: WorkloadFacts, study: StudyRecord, *, sharing: str, measured: Measured
) -> Move:
    if not study.phases:
        return open_sweep(config, facts)
    sweep = study.phase(SWEEP)
    if not sweep.is_closed:
        return advance_sweep(config, facts, study=study, phase=sweep, measured=measured)
    rounds = [phase for phase in study.phases if phase.plan.kind == "round_1"]
    if not rounds:
        return _probe_instability(config, facts, study, sweep=sweep) or _first_round(config, study, sweep=sweep)
    if not rounds[-1].is_closed:
        if is_compute_bound(study):
            return advance_round(config, study, phase=rounds[-1])
        return advance_round_1(config, study, phase=rounds[-1])
    return _after_round_1(config, study, rounds=rounds, sharing=sharing)


def _first_round(config: StudyConfig, study: StudyRecord, *, sweep: PhaseRecord) -> Move:
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
    round_2 = next((phase for phase in study.phases if phase.plan.kind == "round_2"), None)
    if round_2 is None:
        if not is_compute_bound(study) and (move := _adjusted(config, study, rounds=rounds)):
            return move
        return _last_round(config, study, rounds=rounds, sharing=sharing)
    if not round_2.is_closed:
        return advance_round(config, study, phase=round_2)
    return conclude(study, sharing=sharing)


def _last_round(config: StudyConfig, study: StudyRecord, *, rounds: list[PhaseRecord], sharing: str) -> Move:
    """Round 2, or the answer if none is wanted."""
    if config.round_2 is None:
        return conclude(study, sharing=sharing)
    return open_round_2(config, study, base=[phase for phase in rounds if feasible(phase)][-1])


def _within_hours(
    config: StudyConfig, study: StudyRecord, move: OpenPhase, *, sharing: str, measured: Measured
) -> Move:
    """The phase as far as the study's hours hold it, with its cost; what comes after it, if it is skipped."""
    kind, rounds = move.plan.kind, [phase for phase in study.phases if phase.plan.kind == "round_1"]
    if kind == "round_1" and not rounds:
        first = cut_round_1(config, move, measured, production=production_steps(study))
        return first if isinstance(first, GiveUp) else with_cost(config, first, measured)
    if kind == "round_2":
        second = cut_round_2(config, move, measured)
        if isinstance(second, OpenPhase):
            return with_cost(config, second, measured)
        end = conclude(study, sharing=sharing)
        return replace(end, decisions=(second, *end.decisions))
    needed = steps_of(move)
    if kind == INSTABILITY_PROBE:
        # Asked for beside a round 1 that can be judged, never in its place.
        needed += min(config.round_1.num_trials, MIN_FEASIBLE_TRIALS) * derived_budget(study, study.phase(SWEEP))
    if kind == "cooldown" or fits(config, measured, needed):
        return with_cost(config, move, measured)
    skipped = cut(None, f"{move.plan.name} is skipped", config, measured, num_steps=needed)
    if kind == "probe":
        judged = rounds[-1]
        close = close_round(study, phase=judged, check=check_round(config, study, phase=judged))
        return replace(close, decisions=(skipped, *close.decisions))
    if kind == INSTABILITY_PROBE:
        after = _first_round(config, study, sweep=study.phase(SWEEP))
    else:
        after = _last_round(config, study, rounds=rounds, sharing=sharing)
    if isinstance(after, OpenPhase):
        after = _within_hours(config, study, after, sharing=sharing, measured=measured)
    assert isinstance(after, OpenPhase | Conclude | GiveUp)
    return replace(after, decisions=(skipped, *after.decisions))


def _adjusted(config: StudyConfig, study: StudyRecord, *, rounds: list[PhaseRecord]) -> Move | None:
    """A longer round 1, then its decay tuned anew; None when the budget stays."""
    if needs_longer(config, rounds):
        return open_longer(config, rounds)
    return retune_decay(config, study, rounds=rounds)
