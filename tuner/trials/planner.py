"""The planner: asks the protocol what comes next and commits it; one per study, under a lease.

It decides nothing itself: the protocol decides from stored records, the search fills in points, storage applies.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace

from tuner.config.schema import StudyConfig
from tuner.protocol.advance import next_move
from tuner.protocol.frontier_budgets import with_reserved
from tuner.protocol.measured import Measured
from tuner.protocol.runs import round_trials
from tuner.protocol.space import space_of
from tuner.protocol.words import why_no_weights
from tuner.records import (
    AddTrials,
    Conclude,
    Decision,
    Evaluation,
    GiveUp,
    Move,
    OpenPhase,
    PhaseRecord,
    StudyRecord,
    Wait,
    WorkloadFacts,
)
from tuner.storage.followed import FollowedStudy
from tuner.storage.leases import Lease
from tuner.storage.store import Store
from tuner.trials.facts import stored_facts
from tuner.trials.mirror import Mirror
from tuner.trials.proposals import propose


class Planner:
    """Takes one study forward, one committed move at a time."""

    def __init__(
        self, store: Store, lease: Lease, config: StudyConfig, *, mirror: Mirror, warn: Callable[[str], None]
    ) -> None:
        self._store, self._lease, self._config, self._mirror, self._warn = store, lease, config, mirror, warn
        self._study = FollowedStudy(store.database, config.study)
        self._facts: WorkloadFacts | None = None
        self._sharing = "exact"
        self.num_workers = 1
        """How many workers share what is to come."""
        # Earlier runs by their workers' accounts, this one by the clock.
        self._earlier_seconds, self._began = store.elapsed_seconds(config.study), time.monotonic()

    def record(self) -> StudyRecord:
        """The study as stored."""
        return self._study.load()

    def needs_facts(self) -> bool:
        """Whether no decision holds the workload's facts yet; a worker will tell them."""
        if self._facts is None:
            self._facts = stored_facts(self.record())
        return self._facts is None

    def learn(self, facts: WorkloadFacts, sharing: str) -> None:
        """Facts as a worker measured them; those of a committed decision bind (D8)."""
        if self.needs_facts():
            self._facts = facts
        if sharing != "exact":
            self._sharing = sharing

    def advance(self) -> tuple[Move, StudyRecord]:
        """The next move, committed unless it ends the study (see `finish`), and the record it was made from."""
        record = self.record()
        self._mirror.follow(record, warn=self._warn)
        assert self._facts is not None
        move = next_move(self._config, self._facts, record, measured=self._measured())
        if isinstance(move, OpenPhase | AddTrials) and move.num_points:
            move = self._with_points(move, record)
        if not isinstance(move, Wait | Conclude | GiveUp):
            self._apply(move)
        return move, record

    def finish(self, move: Conclude | GiveUp, test: tuple[Evaluation, ...] = ()) -> Move:
        """Commit the end of the study, with the test score of the chosen model."""
        if isinstance(move, Conclude):
            move = self._with_sharing(move)
            if move.answer.test_value is None:
                move = self._with_test_value(move, test)
        self._apply(move)
        self._mirror.follow(self.record(), warn=self._warn)
        return move

    def _apply(self, move: Move) -> None:
        self._store.patience.work(lambda: self._store.apply(self._lease, move))

    def _with_test_value(self, move: Conclude, test: tuple[Evaluation, ...]) -> Conclude:
        trial = move.answer.best_trial
        if not test:
            return replace(move, decisions=(*move.decisions, self._no_test(trial)))
        self._store.patience.work(lambda: self._store.record_test_value(self._lease, trial, test))
        values = {row.metric: row.value for row in test}
        return replace(move, answer=replace(move.answer, test_value=values.get(move.answer.metric)))

    def _no_test(self, best_trial: int) -> Decision:
        best = next(trial for trial in self.record().trials() if trial.trial == best_trial)
        is_kept = self._store.best_checkpoint(best_trial) is not None
        told = "are missing or damaged" if is_kept else f"were not kept ({why_no_weights(best)})"
        reason = f"No test score: the weights of the best step {told}, and are not made up."
        return Decision(kind="test", reason=reason)

    def _measured(self) -> Measured:
        elapsed = self._earlier_seconds + time.monotonic() - self._began
        spent = self._store.measured(self._config.study)
        return replace(spent, elapsed_seconds=elapsed, num_workers=self.num_workers)

    def _with_sharing(self, move: Conclude) -> Conclude:
        """How far equal recipes gave equal bits in this study (D2)."""
        mixed = self._store.mixed_trials(self._config.study)
        sharing = "exact" if self._sharing == self.record().sharing == "exact" else "statistical"
        decisions = move.decisions
        if mixed:
            told = ", ".join(str(trial) for trial in mixed)
            reason = f"Not bit-exact: trials {told} went on with other numerics than they began with."
            decisions = (*decisions, Decision(kind="numerics", reason=reason, numbers={"trials": list(mixed)}))
        return replace(move, answer=replace(move.answer, sharing=sharing), decisions=decisions)

    def _with_points(self, move: OpenPhase | AddTrials, record: StudyRecord) -> Move:
        """The move with the points that it asks the search for."""
        assert self._facts is not None
        phase = PhaseRecord(plan=move.plan) if isinstance(move, OpenPhase) else record.phase(move.phase)
        space = space_of(self._config, (*record.decisions, *move.decisions))
        within = move.within if isinstance(move, AddTrials) else {}
        points = propose(self._config, space, phase, num_points=move.num_points, within=within)
        trials = round_trials(self._config, self._facts, phase.plan, points, first=len(phase.trials))
        specs = [with_reserved(self._config, trial.spec, rest=self._config.later_rounds) for trial in trials]
        trials = tuple(replace(trial, spec=spec) for trial, spec in zip(trials, specs, strict=True))
        return replace(move, trials=trials, num_points=0)
