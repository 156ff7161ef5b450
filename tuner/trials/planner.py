"""The planner: asks the protocol what comes next and commits it; one per study, under a lease.

It decides nothing itself: the protocol decides from stored records, the search fills in points, storage applies.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace

from tuner.config.canonical import config_to_json
from tuner.config.schema import StudyConfig
from tuner.protocol.advance import next_move
from tuner.protocol.generations import searched
from tuner.protocol.grown import joining_trials
from tuner.protocol.joined import joined, joined_name
from tuner.protocol.measured import Measured
from tuner.protocol.space import space_of
from tuner.protocol.words import why_no_weights
from tuner.records import (
    TEST,
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
from tuner.storage.extending import extend
from tuner.storage.followed import FollowedStudy
from tuner.storage.leases import Lease
from tuner.storage.store import Store
from tuner.trials.facts import stored_facts
from tuner.trials.messages import AVERAGED_TEST
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
        self.extension: tuple[Decision, ...] = ()
        """What `tuner extend` decided; committed once a worker has found the data to be those of the study."""
        self.num_workers = 1
        """How many workers share what is to come."""
        self.shares = True
        """Whether runs go on from what others have trained."""
        # Earlier runs by their workers' accounts, this one by the clock.
        self._earlier_seconds, self._began = store.elapsed_seconds(config.study), time.monotonic()

    def record(self) -> StudyRecord:
        """The study as stored."""
        return self._study.load()

    def needs_facts(self) -> bool:
        """Whether no decision holds the workload's facts yet; a worker will tell them."""
        if self._facts is None:
            self._facts = stored_facts(self.record())
        return self._facts is None or bool(self.extension)

    def learn(self, facts: WorkloadFacts, sharing: str) -> None:
        """Facts as a worker measured them; those of a committed decision bind (D8)."""
        if self.needs_facts() and self._facts is None:
            self._facts = facts
        if self.extension:
            config, decisions = config_to_json(self._config), self.extension
            self._store.patience.work(lambda: extend(self._store, self._lease, config=config, decisions=decisions))
            self.extension = ()
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
        answer, decisions = move.answer, move.decisions
        own = {row.metric: row.value for row in test if row.split == TEST}
        if own:
            self._store.patience.work(lambda: self._store.record_test_value(self._lease, answer.best_trial, test))
            answer = replace(answer, test_value=own.get(answer.metric))
        else:
            decisions = (*decisions, self._no_test(answer.best_trial, averaged=False))
        if answer.averaged is not None:
            scored = {row.metric: row.value for row in test if row.split == AVERAGED_TEST}
            answer = replace(answer, averaged=replace(answer.averaged, test_value=scored.get(answer.metric)))
            if not scored:
                decisions = (*decisions, self._no_test(answer.best_trial, averaged=True))
        return replace(move, answer=answer, decisions=decisions)

    def _no_test(self, best_trial: int, *, averaged: bool) -> Decision:
        best = next(trial for trial in self.record().trials() if trial.trial == best_trial)
        is_kept = self._store.best_checkpoint(best_trial, averaged=averaged) is not None
        told = "are missing or damaged" if is_kept else f"were not kept ({why_no_weights(best)})"
        what = "averaged weights of their" if averaged else "weights of the"
        reason = f"No test score: the {what} best step {told}, and are not made up."
        return Decision(kind="test", reason=reason)

    def _measured(self) -> Measured:
        elapsed = self._earlier_seconds + time.monotonic() - self._began
        spent = self._store.measured(self._config.study)
        return replace(spent, elapsed_seconds=elapsed, num_workers=self.num_workers, shares=self.shares)

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
        """The move with the points that it asks the search for, after those that it has."""
        assert self._facts is not None
        view, space = joined(record), space_of(self._config, (*record.decisions, *move.decisions))
        name = joined_name(move.plan.name if isinstance(move, OpenPhase) else move.phase)
        rounds = [phase for phase in view.phases if phase.plan.kind == "round_1"]
        if not any(phase.name == name for phase in rounds):
            assert isinstance(move, OpenPhase)
            rounds = [PhaseRecord(plan=move.plan)]
        within = move.within if isinstance(move, AddTrials) else {}
        past = rounds[-1] if within else searched(self._config, view.decisions, rounds)
        points = propose(self._config, space, past, num_points=move.num_points, within=within)
        first = len(record.phase(move.phase).trials) if isinstance(move, AddTrials) else 0
        trials = joining_trials(self._config, self._facts, rounds, points, first=first + len(move.trials))
        return replace(move, trials=(*move.trials, *trials), num_points=0)
