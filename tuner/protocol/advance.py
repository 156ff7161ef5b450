"""What comes next: one pure function of the config, the facts of the data, and the study as stored.

Asking twice gives the same move; nothing is remembered between calls. So resuming is asking again.
"""

from __future__ import annotations

from tuner.config.schema import StudyConfig
from tuner.protocol.answer import conclude
from tuner.protocol.decay import retune_decay
from tuner.protocol.probe import advance_round_1
from tuner.protocol.rounds import advance_round, feasible, needs_longer, open_longer, open_round_1
from tuner.protocol.second_round import open_round_2
from tuner.protocol.standings import FITTED
from tuner.protocol.sweep import SWEEP, advance_sweep, open_sweep
from tuner.records import Move, PhaseRecord, StudyRecord, WorkloadFacts


def next_move(config: StudyConfig, facts: WorkloadFacts, study: StudyRecord, *, sharing: str = "exact") -> Move:
    """The protocol's next move (PROTOCOL 2-5): sweep, round 1 with its probes and repetitions, round 2, the
    answer.

    `sharing` ("exact" or "statistical") is printed with the answer.

    Raises:
        ConfigError: if the config does not fit the workload, found before anything is trained.
    """
    if not study.phases:
        return open_sweep(config, facts)
    sweep = study.phase(SWEEP)
    if not sweep.is_closed:
        return advance_sweep(config, facts, study=study, phase=sweep)
    rounds = [phase for phase in study.phases if phase.plan.kind == "round_1"]
    if not rounds:
        return open_round_1(config, derived_budget(study, sweep), best_rate=_best_rate(study, sweep))
    if not rounds[-1].is_closed:
        return advance_round_1(config, study, phase=rounds[-1])
    return _after_round_1(config, study, rounds=rounds, sharing=sharing)


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
        if needs_longer(config, rounds):
            return open_longer(config, rounds)
        if move := retune_decay(config, study, rounds=rounds):
            return move
        if config.round_2 is not None:
            base = [phase for phase in rounds if feasible(phase)][-1]
            return open_round_2(config, study, base=base)
    elif not round_2.is_closed:
        return advance_round(config, study, phase=round_2)
    return conclude(study, sharing=sharing)
