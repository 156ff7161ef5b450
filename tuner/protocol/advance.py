"""What comes next: one pure function of the config, the facts of the data, and the study as stored.

Asking twice gives the same move; nothing is remembered between calls. So resuming is asking again.
"""

from __future__ import annotations

from tuner.config.schema import StudyConfig
from tuner.protocol.answer import conclude
from tuner.protocol.decay import retune_decay
from tuner.protocol.kinds import is_compute_bound
from tuner.protocol.measured import NOTHING_MEASURED, Measured
from tuner.protocol.probe import advance_round_1
from tuner.protocol.rounds import advance_round, feasible, needs_longer, open_longer, open_round_1
from tuner.protocol.second_round import open_round_2
from tuner.protocol.standings import FITTED
from tuner.protocol.sweep import SWEEP, advance_sweep, open_sweep
from tuner.records import Move, PhaseRecord, StudyRecord, WorkloadFacts


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
    if not study.phases:
        return open_sweep(config, facts)
    sweep = study.phase(SWEEP)
    if not sweep.is_closed:
        return advance_sweep(config, facts, study=study, phase=sweep, measured=measured)
    rounds = [phase for phase in study.phases if phase.plan.kind == "round_1"]
    if not rounds:
        return open_round_1(config, derived_budget(study, sweep))
    if not rounds[-1].is_closed:
        if is_compute_bound(study):
            return advance_round(config, study, phase=rounds[-1])
        return advance_round_1(config, study, phase=rounds[-1])
    return _after_round_1(config, study, rounds=rounds, sharing=sharing)


def derived_budget(study: StudyRecord, sweep: PhaseRecord) -> int:
    """The budget that the sweep decided on: as decided, else the first step at which a rate fitted."""
    for decision in reversed(study.decisions):
        if decision.kind == "budget" and decision.phase == sweep.name:
            return int(decision.numbers["max_train_steps"])
    return min(trial.last_step for trial in sweep.trials if trial.outcome == FITTED)


def _after_round_1(config: StudyConfig, study: StudyRecord, *, rounds: list[PhaseRecord], sharing: str) -> Move:
    round_2 = next((phase for phase in study.phases if phase.plan.kind == "round_2"), None)
    if round_2 is None:
        if not is_compute_bound(study) and (move := _adjusted(config, study, rounds=rounds)):
            return move
        if config.round_2 is not None:
            base = [phase for phase in rounds if feasible(phase)][-1]
            return open_round_2(config, study, base=base)
    elif not round_2.is_closed:
        return advance_round(config, study, phase=round_2)
    return conclude(study, sharing=sharing)


def _adjusted(config: StudyConfig, study: StudyRecord, *, rounds: list[PhaseRecord]) -> Move | None:
    """A longer round 1, then its decay tuned anew; None when the budget stays."""
    if needs_longer(config, rounds):
        return open_longer(config, rounds)
    return retune_decay(config, study, rounds=rounds)
