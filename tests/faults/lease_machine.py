"""A state machine over everything that may happen to a study: plans, claims, steps, deaths, expiry, damage.

It drives the real store on SQLite with simulated processes, a simulated database clock and a synthetic trainer. After
each rule the invariants hold (`lease_invariants`); in the end each trial has exactly the undisturbed run's rows.
"""

from __future__ import annotations

import os
import shutil
import sqlite3
import tempfile
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

import lease_invariants
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from sqlalchemy import Table, event
from synthetic_trainer import SyntheticRun, make_spec

from tuner.errors import LeaseLost, StudyError
from tuner.records import (
    AddTrials,
    ClosePhase,
    EvalSpec,
    FitRule,
    OpenPhase,
    Outcome,
    PhasePlan,
    RaiseTarget,
    RunSpec,
    TrialPlan,
)
from tuner.storage import leases, tables
from tuner.storage.database import Database
from tuner.storage.garbage import collect
from tuner.storage.paths import HomePaths
from tuner.storage.store import Lease, Owner, Store

EVAL = EvalSpec(metric="loss", direction="minimize", batch_size=8, num_train_examples=8)
HOUR = 3600.0
NUM_WORKERS = 3
MAX_PHASES, MAX_TRIALS = 4, 6
FIT = 1.2

SHAPES = ((12, 0), (20, 6), (28, 6), (28, 14), (40, 10))
"""Steps and decay of the rounds' runs: most share a plateau."""


SPECS = tuple(
    make_spec(steps, rate=rate, decay=decay, every=every, fork_steps=(steps - decay, *parted))
    for steps, decay in SHAPES
    for rate in (1e-3, 1e-3, 2e-3)
    for every in (4, 4, 2, 8)
    for parted in ((), (14,), (10, 14))
)
SPEC = st.integers(0, len(SPECS) - 1)


def sweep_spec(rate: float) -> RunSpec:
    return make_spec(10, rate=rate, decay=0, every=4)


@dataclass
class Slot:
    """A worker process and what it believes to own."""

    owner: Owner
    run: SyntheticRun | None = None


class LeaseMachine(RuleBasedStateMachine):
    """One study. `folder` and the empty database are made once by the campaign."""

    folder: Path
    empty: Path

    def __init__(self) -> None:
        super().__init__()
        self.home = Path(tempfile.mkdtemp(dir=self.folder)) / "home"
        self.home.mkdir()
        shutil.copy(self.empty, self.home / "tuner.db")
        self.clock, self.dead, self.next_pid = 1e9, set[int](), 1000
        paths = HomePaths(self.home)
        database = Database(open_url(paths), place="here")
        event.listen(database._engine, "connect", self._set_clock)
        self.store = Store(database, paths)
        self.reader, self.checked_version = sqlite3.connect(paths.database), -1
        self.written, self.damaged = set[str](), set[str]()
        self.counted, self.seen = dict[int, int](), dict[int, int]()
        self.reached = dict[int, int]()
        self.stale_planners: list[Lease] = []
        self.is_broken = False
        self.epochs = dict[int, int]()
        self._patch = patch.object(Owner, "is_provably_dead", lambda owner: owner.pid in self.dead)
        self._patch.start()
        self.store.create_study("x", config="{}", folder="", command="")
        self.planner = self.store.acquire_planner("x", self._process(""))
        self.slots = [Slot(self._worker()) for _ in range(NUM_WORKERS)]

    # ------------------------------------------------------------ processes and time

    def _set_clock(self, connection: Any, record: Any) -> None:
        connection.create_function("julianday", 1, lambda _: self.clock / 86400.0 + 2440587.5)

    def _process(self, parent: str) -> Owner:
        self.next_pid += 1
        return Owner(
            host_boot_id="here", hostname="h", pid=self.next_pid, process_started="1", label="p", parent=parent
        )

    def _worker(self) -> Owner:
        return self._process(f"{self.planner.owner.pid}/{self.planner.owner.process_started}")

    @property
    def has_planner(self) -> bool:
        return self.planner.owner.pid not in self.dead

    def busy(self, number: int) -> SyntheticRun | None:
        return self.slots[number % NUM_WORKERS].run

    @rule(seconds=st.sampled_from((20.0, 100.0, HOUR)), beating=st.sets(st.integers(0, NUM_WORKERS)))
    def pass_time(self, seconds: float, beating: set[int]) -> None:
        """Expire the leases of whoever does not beat; a renewal that comes too late is refused or harmless."""
        renewed = [slot.run.lease for n, slot in enumerate(self.slots) if n in beating and slot.run]
        renewed += [self.planner] if NUM_WORKERS in beating and self.has_planner else []
        for lease in renewed:
            self._write(lease, lambda lease=lease: self.store.renew(lease, seconds=90 + int(seconds)))
        self.clock += seconds

    # ------------------------------------------------------------ the planner

    @initialize(specs=st.lists(SPEC, min_size=1, max_size=3))
    def open_first(self, specs: list[int]) -> None:
        self._open([SPECS[number] for number in specs], is_sweep=False)

    @precondition(lambda self: self.has_planner)
    @rule(specs=st.lists(SPEC, min_size=1, max_size=3), is_sweep=st.booleans())
    def plan(self, specs: list[int], is_sweep: bool) -> None:
        chosen = [SPECS[number] for number in specs]
        self._open([sweep_spec(spec.learning_rate) for spec in chosen] if is_sweep else chosen, is_sweep=is_sweep)

    def _open(self, specs: list[RunSpec], *, is_sweep: bool) -> None:
        study = self.store.load("x", with_curves=False)
        if len(study.phases) >= MAX_PHASES or len(study.trials()) + len(specs) > MAX_TRIALS:
            return
        plan = PhasePlan(
            name=f"phase_{len(study.phases)}",
            kind="budget_sweep" if is_sweep else "round_1",
            max_train_steps=max(spec.max_train_steps for spec in specs),
            eval=EVAL,
            fit=FitRule("loss", FIT) if is_sweep else None,
            stop_when_dominated=is_sweep,
        )
        self._apply(OpenPhase(plan=plan, trials=_plans(specs, first=0)))

    @precondition(lambda self: self.has_planner)
    @rule(spec=SPEC)
    def add_trial(self, spec: int) -> None:
        study = self.store.load("x", with_curves=False)
        phase = next((p for p in study.phases if not p.is_closed and not p.plan.is_sweep), None)
        if phase is not None and len(study.trials()) < MAX_TRIALS:
            self._apply(AddTrials(phase=phase.name, trials=_plans([SPECS[spec]], first=len(phase.trials))))

    @precondition(lambda self: self.has_planner)
    @rule()
    def raise_target(self) -> None:
        for phase in self.store.load("x", with_curves=False).phases:
            paused = tuple(trial.trial for trial in phase.trials if trial.state == "paused")
            if paused and not phase.is_closed and phase.plan.max_train_steps < 40:
                self._apply(
                    RaiseTarget(phase=phase.name, trials=paused, max_train_steps=2 * phase.plan.max_train_steps)
                )
                return

    @precondition(lambda self: self.has_planner)
    @rule(is_out_of_time=st.booleans())
    def close(self, is_out_of_time: bool) -> None:
        """Close the first phase that is done, or one in the midst of its trials."""
        for phase in self.store.load("x", with_curves=False).phases:
            if not phase.is_closed and (is_out_of_time or all(t.state in ("paused", "ended") for t in phase.trials)):
                stop = self.store.stop_step("x", phase.name) if phase.plan.is_sweep else None
                unended = {t.trial: Outcome("stopped", "dominated") for t in phase.trials if t.state != "ended"}
                self._apply(ClosePhase(phase=phase.name, verdict="v", reason="r", truncate_at=stop, outcomes=unended))
                return

    def _apply(self, move: Any) -> None:
        self._write(self.planner, lambda: self.store.apply(self.planner, move))

    @precondition(lambda self: self._is_planned())
    @rule()
    def second_run(self) -> None:
        try:
            self.store.acquire_planner("x", self._process(""))
        except StudyError:
            return
        raise AssertionError("two planners at once")

    def _is_planned(self) -> bool:
        return self.has_planner and bool(self._row(tables.studies, self.planner.id).lease_expires >= self.clock)

    @precondition(lambda self: not self._is_planned())
    @rule()
    def resume(self) -> None:
        owner = self._process("")
        self.stale_planners.append(self.planner)
        before = self.planner.epoch
        self.planner = self.store.acquire_planner("x", owner)
        assert self.planner.epoch == before + 1

    @precondition(lambda self: self.stale_planners)
    @rule()
    def stale_planner_writes(self) -> None:
        stale = self.stale_planners[-1]
        for write in (lambda: self.store.apply(stale, AddTrials(phase="phase_0")), lambda: self.store.release(stale)):
            try:
                write()
            except LeaseLost:
                continue
            raise AssertionError("a planner that lost its study wrote to it")

    # ------------------------------------------------------------ workers

    @rule(number=st.integers(0, NUM_WORKERS - 1), share=st.sampled_from((True, True, True, False)))
    def claim(self, number: int, share: bool) -> None:
        slot = self.slots[number]
        if slot.run is not None:
            return
        found = self.store.claim("x", slot.owner, share=share)
        if found is None:
            return
        assert found.lease.epoch == self.epochs.get(found.trial.trial, 0) + 1, "an epoch was given twice"
        self.epochs[found.trial.trial] = found.lease.epoch
        slot.run = SyntheticRun(self.store, found, share=share, written=self.written)

    @rule(number=st.integers(0, NUM_WORKERS - 1), count=st.integers(1, 12))
    def step(self, number: int, count: int) -> None:
        for _ in range(count):
            if (run := self.slots[number].run) is None:
                return
            self._advance(number, run)

    @rule(number=st.integers(0, NUM_WORKERS - 1), count=st.integers(3, 30))
    def work(self, number: int, count: int) -> None:
        """Claim if there is nothing to do, and go on: most of what happens."""
        self.claim(number, True)
        self.step(number, count)

    @rule(counts=st.lists(st.integers(1, 12), min_size=NUM_WORKERS, max_size=NUM_WORKERS))
    def all_work(self, counts: list[int]) -> None:
        for number, count in enumerate(counts):
            self.work(number, count)

    def _advance(self, number: int, run: SyntheticRun) -> None:
        begun, saved, held = run.begun, run.saved_at, self.holds(run.lease)
        done = self._expect(run.lease, run.advance, on_lost=lambda: self._drop(number))
        assert held or not done or run.latest == "written", "a worker that lost its trial wrote to it"
        if run.begun and not begun:
            reached = self.reached.get(run.trial, 0)
            assert run.step >= reached or self.damaged, f"checkpointed step {reached} was lost, back to {run.step}"
            self.reached[run.trial] = run.step
        elif run.saved_at > saved and not run.is_over:
            self.reached[run.trial] = max(run.saved_at, self.reached[run.trial])
            self.counted[run.trial] = self.seen[run.trial] = 0
        if run.is_over:
            self._drop(number)

    @precondition(lambda self: any(slot.run for slot in self.slots))
    @rule(number=st.integers(0, NUM_WORKERS - 1), how=st.sampled_from(("leave", "fail")))
    def leave(self, number: int, how: str) -> None:
        """Told to stop, or an exception in training."""
        run = self.slots[number].run
        if run is None:
            return
        if how == "leave":
            saved = run.saved_at
            self._write(run.lease, run.leave)
            if run.saved_at > saved:
                self.reached[run.trial] = max(run.saved_at, self.reached.get(run.trial, 0))
                self.counted[run.trial] = self.seen[run.trial] = 0
        elif self._write(run.lease, lambda: self.store.fail_trial(run.lease, "boom")):
            self._count(run.trial, self.counted, self.seen)
        self._drop(number)

    @rule(number=st.integers(0, NUM_WORKERS - 1), is_seen=st.booleans())
    def crash(self, number: int, is_seen: bool) -> None:
        """A worker dies alone. Its planner sees it at once, or another worker finds it first."""
        slot = self.slots[number]
        self.dead.add(slot.owner.pid)
        mine = slot.owner.is_child_of(self.planner.owner) and self.has_planner
        if slot.run is not None and mine:
            self._count(slot.run.trial, self.counted)
        if is_seen and mine:
            self._write(self.planner, lambda: self._mourn(slot))
        self.slots[number] = Slot(self._worker())

    def _mourn(self, slot: Slot) -> None:
        trial = self.store.note_death(self.planner, slot.owner.pid)
        if trial is not None:
            self._count(trial, self.seen)

    @rule(with_workers=st.booleans())
    def crash_planner(self, with_workers: bool) -> None:
        """The planner dies, alone or with its whole process group."""
        self.dead.add(self.planner.owner.pid)
        if with_workers:
            self.dead |= {slot.owner.pid for slot in self.slots}
            self.slots = [Slot(self._worker()) for _ in self.slots]

    @rule(number=st.integers(0, 30), is_deleted=st.booleans())
    def damage(self, number: int, is_deleted: bool) -> None:
        """A full state is deleted by hand, or a bit of it flips."""
        rows = self.rows(tables.checkpoints, "kind = 'full'")
        rows = [row for row in rows if row.path not in self.damaged]
        if not rows or len(self.damaged) >= 2:
            return
        path = rows[number % len(rows)].path
        self.damaged.add(path)
        file = self.home / path
        if is_deleted:
            file.unlink()
        else:
            file.write_bytes(file.read_bytes()[:-3] + b"???")

    @rule()
    def collect_garbage(self) -> None:
        """`tuner gc`, long after whatever was written: no file goes whose row may still come."""
        for file in self.home.rglob("*.safetensors"):
            os.utime(file, (1.0, 1.0))
        collect(self.store, None, dry_run=False)
        running = [slot.run for slot in self.slots if slot.run and slot.run.latest == "written"]
        for run in running:
            assert not self.holds(run.lease) or run.files_exist(), "a file was collected before its row could come"

    @precondition(lambda self: self.epochs)
    @rule(number=st.integers(0, MAX_TRIALS))
    def take_after_an_old_look(self, number: int) -> None:
        """Who looked before another took the trial may not take it any more."""
        trial = sorted(self.epochs)[number % len(self.epochs)]
        row = self._row(tables.trials, trial)
        old = SimpleNamespace(id=trial, lease_epoch=row.lease_epoch - 1)
        try:
            with self.store._database.write() as connection:
                leases.take(connection, old, kind="trial", owner=self._worker(), at=self.clock)  # type: ignore[arg-type]
        except LeaseLost:
            return
        self.is_broken = True
        raise AssertionError(f"trial {trial} was taken by two")

    # ------------------------------------------------------------ what must hold

    @invariant()
    def all_hold(self) -> None:
        lease_invariants.check(self)

    def teardown(self) -> None:
        try:
            if not self.is_broken:
                lease_invariants.finish(self)
        finally:
            self._patch.stop()
            self.reader.close()
            self.store.close()
            shutil.rmtree(self.home.parent, ignore_errors=True)

    def rows(self, table: Table, where: str = "true") -> list[Any]:
        """Rows as they are committed, read without the program; several times as fast."""
        cursor = self.reader.execute(f"select * from {table.name} where {where}")
        names = [column[0] for column in cursor.description]
        return [SimpleNamespace(**dict(zip(names, values, strict=True))) for values in cursor]

    def _row(self, table: Table, id_: int) -> Any:
        return self.rows(table, f"id = {id_}")[0]

    def holds(self, lease: Lease) -> bool:
        row = self._row(tables.studies if lease.kind == "planner" else tables.trials, lease.id)
        return bool(row.lease_epoch == lease.epoch and row.lease_owner is not None)

    def _expect(self, lease: Lease, write: Any, *, on_lost: Any = lambda: None) -> bool:
        """Do a write that is accepted exactly if the lease is held; whether it was."""
        held = self.holds(lease)
        try:
            write()
        except LeaseLost:
            assert not held, f"the lease of {lease.kind} {lease.id} is held, but its write was refused"
            on_lost()
            return False
        return True

    def _write(self, lease: Lease, write: Any) -> bool:
        """As `_expect`, for a write that must be refused if the lease is not held."""
        held = self.holds(lease)
        done = self._expect(lease, write)
        assert held or not done, f"a write to {lease.kind} {lease.id} was accepted, whose lease is not held"
        return done

    def _count(self, trial: int, *counts: dict[int, int]) -> None:
        for count in counts:
            count[trial] = count.get(trial, 0) + 1

    def _drop(self, number: int) -> None:
        self.slots[number].run = None


def _plans(specs: list[RunSpec], *, first: int) -> tuple[TrialPlan, ...]:
    return tuple(TrialPlan(number=number, params={}, spec=spec) for number, spec in enumerate(specs, first))


def open_url(paths: HomePaths) -> Any:
    from tuner.storage.database import parse_url

    return parse_url(f"sqlite:///{paths.database}")
