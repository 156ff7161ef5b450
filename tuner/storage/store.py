"""The store: every way to read or change what is kept, one transaction a method.

Rule: it keeps and never decides. What a worker or planner writes carries its lease and is refused with `LeaseLost` once
another owns it; nothing is changed then. Files are unlinked only after the commit that dropped their rows (D5).
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Self, Unpack

from sqlalchemy import Connection, select, update

from tuner.failpoints import failpoint
from tuner.protocol.measured import Measured
from tuner.records import Evaluation, Move, Outcome, StudyRecord, StudyState, TrialState
from tuner.storage import (
    attempts,
    checkpoints,
    claims,
    endings,
    evaluations,
    leases,
    loading,
    moves,
    segments,
    starts,
    studies,
)
from tuner.storage.clock import now
from tuner.storage.database import Database
from tuner.storage.forks import Runner
from tuner.storage.leases import LEASE_SECONDS, Lease, Owner
from tuner.storage.opening import open_database
from tuner.storage.paths import HomePaths
from tuner.storage.patience import Patience
from tuner.storage.rows import (
    AttemptRequest,
    Claim,
    NewCheckpoint,
    NumericsSegment,
    Progress,
    Start,
    StoredCheckpoint,
    StudyRow,
    plan_of,
    spec_of,
)
from tuner.storage.tables import phases, trials

__all__ = [
    "Claim",
    "Lease",
    "NewCheckpoint",
    "NumericsSegment",
    "Owner",
    "Progress",
    "Start",
    "Store",
    "StoredCheckpoint",
    "StudyRow",
]


class Store:
    """One database and its home folder. Safe to use from several threads; open one per process.

    `url` holds the database's password, if it has one: never print it.
    """

    def __init__(self, database: Database, paths: HomePaths) -> None:
        self._database, self.paths, self.patience = database, paths, database.patience

    @classmethod
    def open(cls, url: str | None, home: Path, *, create: bool = True, patience: Patience | None = None) -> Self:
        """Open the database at `url`, or the SQLite file of the home folder; bring it to this release's schema.

        Raises:
            HomeError: the place cannot be used, holds a newer schema, or (`create=False`) holds no studies yet.
            TryAgainLater: the database is away.
        """
        paths = HomePaths(home.expanduser().resolve())
        return cls(open_database(url, home, default=paths.database, create=create, patience=patience), paths)

    @property
    def url(self) -> str:
        """The database's URL with its password, for libraries that open it too."""
        return self._database.url.render_as_string(hide_password=False)

    @property
    def database(self) -> Database:
        """For what looks at a whole study or home at once: `verify`, `repairs`, `garbage`."""
        return self._database

    def close(self) -> None:
        """Release the connections."""
        self._database.close()

    # ------------------------------------------------------------ studies

    def create_study(self, name: str, *, config: str, folder: str, command: str) -> None:
        """Store a new study. `config` is canonical JSON, `folder` where its YAML lies.

        Raises:
            StudyError: if the name is taken.
        """
        with self._database.write("create_study") as connection:
            studies.create(connection, name, config=config, folder=folder, command=command)

    def study_names(self) -> list[str]:
        """All studies, oldest first."""
        with self._database.read() as connection:
            return studies.names(connection)

    def study(self, name: str) -> StudyRow:
        """A study without its phases.

        Raises:
            StudyError: if there is none of that name.
        """
        with self._database.read() as connection:
            return studies.record(studies.find(connection, name))

    def update_config(self, name: str, config: str, *, folder: str | None = None) -> None:
        """Replace the config of a study by one with accepted changes (D8), and where its YAML lies."""
        with self._database.write("update_config") as connection:
            studies.update_config(connection, name, config, folder=folder)

    def mixed_trials(self, name: str) -> list[int]:
        """Trials that went on with other numerics than they began with: not bit-exact (D2)."""
        with self._database.read() as connection:
            return segments.mixed_trials(connection, studies.find(connection, name).id)

    def load(self, name: str, *, with_curves: bool = True) -> StudyRecord:
        """The whole study at one moment; without curves where only numbers are shown.

        Raises:
            StudyError: if there is none of that name.
        """
        with self._database.read() as connection:
            rows = loading.fetch(connection, name, with_curves=with_curves)
        return loading.build(rows)

    def decision_times(self, name: str) -> list[str]:
        """When each decision of a study was committed, in their order; UTC."""
        with self._database.read() as connection:
            return studies.decision_times(connection, name)

    def bill(self, name: str) -> dict[str, Any]:
        """Steps requested, executed, shared, recomputed, overshoot, stage_tree; and `seconds` by account.

        Raises:
            StudyError: if there is none of that name.
        """
        from tuner.storage import bill  # Only here: numpy and the schedules.

        with self._database.read() as connection:
            rows = bill.fetch(connection, name)
        return bill.build(rows)

    def measured(self, name: str) -> Measured:
        """What the workers of a study have spent so far.

        Raises:
            StudyError: if there is none of that name.
        """
        with self._database.read() as connection:
            return attempts.measured(connection, studies.find(connection, name).id)

    def elapsed_seconds(self, name: str) -> float:
        """How long at least one worker was at work on a study: interruptions do not count.

        Raises:
            StudyError: if there is none of that name.
        """
        with self._database.read() as connection:
            return attempts.elapsed_seconds(connection, studies.find(connection, name).id)

    # ------------------------------------------------------------ the planner

    def is_running(self, name: str) -> bool:
        """Whether a planner holds this study: its lease has not expired and its process is not provably dead."""
        with self._database.read() as connection:
            return leases.is_alive(studies.find(connection, name), now(connection))

    def acquire_planner(self, name: str, owner: Owner) -> Lease:
        """Become the one planner of a study; trials of dead workers go back to waiting.

        Raises:
            StudyError: if there is no such study, or another planner is alive.
        """
        with self._database.write("acquire_planner") as connection:
            return leases.acquire_planner(connection, studies.find(connection, name), owner)

    def set_state(self, lease: Lease, state: StudyState, *, reason: str | None = None) -> None:
        """Store where the planner's study stands."""
        with self._database.write("set_state") as connection:
            leases.fence(connection, lease)
            studies.set_state(connection, lease.id, state, reason=reason)

    def apply(self, lease: Lease, move: Move) -> list[Path]:
        """Commit a move of the protocol with its decisions; the checkpoint files that it made superfluous, unlinked.

        Raises:
            LeaseLost: if another planner took over.
            ValueError: for a move that does not fit the stored study.
        """
        with self._database.write("apply") as connection:
            leases.fence(connection, lease)
            gone = moves.apply(connection, lease.id, move)
        return self._unlink(gone)

    def record_test_value(self, lease: Lease, trial: int, rows: Iterable[Evaluation]) -> None:
        """Store the chosen model's score on the test set, in place of an earlier one."""
        with self._database.write("record_test_value") as connection:
            leases.fence(connection, lease)
            evaluations.replace_test_rows(connection, trial, rows)

    def note_death(self, lease: Lease, pid: int, reason: str = "its worker process died") -> int | None:
        """The planner saw its worker `pid` die: count it against the trial that it held, and return that trial."""
        with self._database.write("note_death") as connection:
            return claims.note_death(connection, lease, pid, reason)

    # ------------------------------------------------------------ workers

    def claim(self, name: str, owner: Owner, *, share: bool = False) -> Claim | None:
        """Take up the first trial that may run, in order of phase and number; None if there is none now.

        With `share`, a trial that others can start from comes before them, and they wait for it while it runs (D4).

        Raises:
            StudyError: if there is no such study.
        """
        with self._database.write("claim") as connection:
            return claims.claim(connection, studies.find(connection, name), owner, share=share)

    def renew(self, lease: Lease, *, seconds: int = LEASE_SECONDS) -> None:
        """Hold a lease for `seconds` more, by the database's clock."""
        with self._database.write(f"renew_{lease.kind}") as connection:
            leases.renew(connection, lease, seconds=seconds)

    def release(self, lease: Lease) -> None:
        """Give a lease back; a running trial waits for its next worker."""
        with self._database.write(f"release_{lease.kind}") as connection:
            leases.release(connection, lease)

    def begin_attempt(self, lease: Lease, **request: Unpack[AttemptRequest]) -> Start:
        """Find where a claimed trial starts, and make its rows what they were at that step; once per claim.

        The start is the deepest full checkpoint whose recipe key is `key_at(its step)` on the same numerics: the
        trial's own, or with `share` another's that was evaluated at all steps where this one would have been. What lies
        beyond is deleted; what is shared is copied and pinned. `forked_from` names the donor, also on later resumes.

        Raises:
            StudyError: if the trial ran on other numerics and has no checkpoint of these, unless `other_numerics`.
            LeaseLost: if the trial was taken over.
        """
        with self._database.write("begin_attempt") as connection:
            row = leases.fence(connection, lease)
            plan = plan_of(connection.execute(select(phases.c.plan).where(phases.c.id == row.phase_id)).scalar_one())
            run = Runner(trial=row.id, spec=spec_of(row.spec), fit=plan.fit, request=request, exists=self._has_file)
            start, gone = starts.begin_attempt(connection, lease, run=run, objective=plan.eval)
        self._unlink(gone)
        return start

    def record_evaluation(self, lease: Lease, rows: Iterable[Evaluation], *, eval_key: str, progress: Progress) -> None:
        """Store one evaluation of a trial at once, and what follows from it. Values that are not finite have no row."""
        with self._database.write("record_evaluation") as connection:
            leases.fence(connection, lease)
            evaluations.insert_rows(connection, lease.id, rows, eval_key=eval_key)
            evaluations.summarise(connection, lease.id, endings.objective_of(connection, lease.id))
            _advance(connection, lease, progress)

    def add_checkpoint(
        self,
        lease: Lease,
        *files: NewCheckpoint,
        keep_steps: frozenset[int],
        save_total_limit: int = 1,
        progress: Progress,
    ) -> None:
        """Store that durable files exist, and drop what they make superfluous; after the evaluation of their steps.

        `progress` is of when the state was copied: store no later evaluation before. `keep_steps` are the steps whose
        full state stays: planned forks and the last; beside them the newest `save_total_limit` stay.
        """
        with self._database.write("add_checkpoint") as connection:
            row = leases.fence(connection, lease)
            if row.static_digest is None:
                raise ValueError(f"trial {row.id} has not begun; call begin_attempt before add_checkpoint")
            for file in files:
                checkpoints.insert_row(
                    connection,
                    file,
                    trial=row.id,
                    epoch=lease.epoch,
                    static_digest=row.static_digest,
                    num_skipped_updates=progress.num_skipped_updates,
                )
            if any(file.kind == "full" for file in files):
                connection.execute(update(trials).where(trials.c.id == row.id).values(num_deaths=0))
            measured = endings.objective_of(connection, row.id)
            gone = checkpoints.retain(
                connection, row.id, keep_steps=keep_steps, num_newest=save_total_limit, measured=measured
            )
            _advance(connection, lease, progress)
        self._unlink(gone)

    def pause_trial(self, lease: Lease, *, progress: Progress) -> None:
        """The trial reached its target in an open phase, whose protocol may raise it; the lease ends."""
        with self._database.write("pause_trial") as connection:
            leases.fence(connection, lease)
            _advance(connection, lease, progress)
            endings.pause(connection, lease)

    def end_trial(self, lease: Lease, outcome: Outcome, *, weights_digest: str | None, progress: Progress) -> None:
        """The trial has its outcome; the lease ends. `weights_digest` is of the weights at its last step."""
        with self._database.write("end_trial") as connection:
            leases.fence(connection, lease)
            _advance(connection, lease, progress)
            attempts.end(connection, lease.id, epoch=lease.epoch, how="ended")
            endings.end(connection, lease.id, outcome, weights_digest=weights_digest)

    def fail_trial(self, lease: Lease, reason: str, *, is_final: bool = False) -> TrialState:
        """Training raised an exception: the trial waits again, or ends as crashed after three without a checkpoint.

        `is_final`: it would be the same each time, so that it ends at once.
        """
        with self._database.write("fail_trial") as connection:
            return claims.fail(connection, lease, reason, is_final=is_final)

    def stop_step(self, name: str, phase: str) -> int | None:
        """The earliest step at which a trial of the phase fitted: no other can be the fastest after it."""
        with self._database.read() as connection:
            return endings.first_fit(connection, studies.find(connection, name).id, phase=phase)

    # ------------------------------------------------------------ reading one trial

    def evaluations(self, trial: int) -> tuple[Evaluation, ...]:
        """Every measurement of a trial, by step, split and metric."""
        with self._database.read() as connection:
            return evaluations.all_rows(connection, trial)

    def checkpoints(self, trial: int) -> tuple[StoredCheckpoint, ...]:
        """The checkpoints that a trial's own run wrote and still has, by step."""
        with self._database.read() as connection:
            return checkpoints.of_trial(connection, trial)

    def best_checkpoint(self, trial: int, *, averaged: bool = False) -> StoredCheckpoint | None:
        """The file of a trial's best (averaged) weights, its own or one that it shares; None if none was kept.

        One that is there, if any is; else the row of one that is gone.
        """
        with self._database.read() as connection:
            if averaged:
                found = checkpoints.best_averaged_files(connection, trial, endings.objective_of(connection, trial))
            else:
                step = connection.execute(select(trials.c.best_step).where(trials.c.id == trial)).scalar()
                found = checkpoints.weights_at(connection, trial, step)
        return next((file for file in found if self._has_file(file.path)), found[0] if found else None)

    def states_of(self, static_digest: str, *, until: int) -> tuple[StoredCheckpoint, ...]:
        """Full states up to a step, of whatever runs have this static recipe, deepest first."""
        with self._database.read() as connection:
            return checkpoints.of_recipe(connection, static_digest, until=until)[::-1]

    def numerics(self, trial: int) -> tuple[NumericsSegment, ...]:
        """On what a trial ran; more than one segment means that it is not bit-exact."""
        with self._database.read() as connection:
            return segments.of_trial(connection, trial)

    # ------------------------------------------------------------ files

    def _has_file(self, path: str) -> bool:
        return self.paths.resolve(path).is_file()

    def _unlink(self, paths: Iterable[str]) -> list[Path]:
        files = [self.paths.resolve(path) for path in paths]
        for file in files:
            # A file that stays without a row is garbage, not a loss: the next collection finds it.
            with contextlib.suppress(OSError):
                failpoint("unlink.before")
                file.unlink(missing_ok=True)
                failpoint("unlink.after")
        return files


def _advance(connection: Connection, lease: Lease, progress: Progress) -> None:
    attempts.advance(connection, lease.id, epoch=lease.epoch, to_step=progress.to_step, seconds=progress.seconds)
    connection.execute(
        update(trials)
        .where(trials.c.id == lease.id)
        .values(last_step=progress.to_step, num_skipped_updates=progress.num_skipped_updates)
    )
