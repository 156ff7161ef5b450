"""Small studies, and a worker that trains nothing but writes to the store as a real one does."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from sqlalchemy import event, text

from tuner.analysis.averages import averaged_split
from tuner.analysis.best_averaged import best_averaged
from tuner.records import (
    TRAIN_SAMPLE,
    VALIDATION,
    EvalSpec,
    Evaluation,
    FitRule,
    OpenPhase,
    OptimizerSpec,
    Outcome,
    PhasePlan,
    RunSpec,
    ScheduleSpec,
    TrialPlan,
)
from tuner.storage.store import Claim, Lease, NewCheckpoint, Owner, Progress, Start, Store
from tuner.training.recipe import RecipeKeys

ME = Owner.of_this_process("test")
DEAD = replace(
    ME, process_started="another life of the same number", label="dead", parent=f"{ME.pid}/{ME.process_started}"
)
ELSEWHERE = replace(ME, host_boot_id="another host", hostname="elsewhere", label="elsewhere")

NUMERICS = {"device": "cpu", "torch_threads": 1}


def make_spec(
    steps: int = 100, *, rate: float = 1e-3, decay: int = 0, every: int = 10, fork_steps: tuple[int, ...] = ()
) -> RunSpec:
    return RunSpec(
        seed=0,
        max_train_steps=steps,
        learning_rate=rate,
        schedule=ScheduleSpec(kind="warmup_stable_decay" if decay else "constant", warmup_steps=5, decay_steps=decay),
        optimizer=OptimizerSpec(name="adamw", weight_decay=0.0),
        max_grad_norm=1.0,
        precision="fp32",
        global_batch_size=16,
        eval_every_steps=every,
        fork_steps=fork_steps,
    )


def make_plan(name: str = "round_1", *, steps: int = 100, fit: float | None = None) -> PhasePlan:
    return PhasePlan(
        name=name,
        kind="round_1" if fit is None else "budget_sweep",
        max_train_steps=steps,
        eval=EvalSpec(metric="loss", direction="minimize", batch_size=64, num_train_examples=100),
        fit=None if fit is None else FitRule("loss", fit),
        stop_when_dominated=fit is not None,
    )


def averaged_plan(*horizons: int, **changes: Any) -> PhasePlan:
    """A plan whose evaluations measure averages too."""
    plan = make_plan(**changes)
    return replace(plan, eval=replace(plan.eval, averaged_horizons=horizons))


def make_move(specs: Sequence[RunSpec], plan: PhasePlan | None = None) -> OpenPhase:
    trials = tuple(
        TrialPlan(number=number, params={"learning_rate": spec.learning_rate}, spec=spec)
        for number, spec in enumerate(specs)
    )
    return OpenPhase(plan=plan or make_plan(steps=max(spec.max_train_steps for spec in specs)), trials=trials)


def open_study(
    store: Store, specs: Sequence[RunSpec], plan: PhasePlan | None = None, *, name: str = "x", owner: Owner = ME
) -> Lease:
    """A study with one open phase; its planner's lease."""
    store.create_study(name, config="{}", folder="studies", command="tuner run x.yaml")
    lease = store.acquire_planner(name, owner)
    store.apply(lease, make_move(specs, plan))
    return lease


def recipe_keys(spec: RunSpec, static: str = "s") -> Callable[[int], str]:
    return RecipeKeys(digest(static), spec).key_at


def digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


class FakeWorker:
    """One claimed trial. Losses are `loss(step)`; files hold a few bytes."""

    def __init__(self, store: Store, claim: Claim, *, numerics_key: str = "n", static: str = "s") -> None:
        self.store, self.claim, self.numerics_key, self.static = store, claim, numerics_key, digest(static)
        self.trial, self.lease, self.spec = claim.trial.trial, claim.lease, claim.trial.spec
        self.step = 0
        self.start: Start | None = None
        self.key_at = recipe_keys(self.spec, static)

    @classmethod
    def next(cls, store: Store, *, owner: Owner = ME, name: str = "x", **settings: str) -> FakeWorker:
        claim = store.claim(name, owner)
        assert claim is not None, "no trial to claim"
        return cls(store, claim, **settings)

    def begin(self, *, share: bool = True, eval_key: str = "e", other_numerics: bool = False) -> FakeWorker:
        self.eval_key = eval_key
        self.start = self.store.begin_attempt(
            self.lease,
            static_digest=self.static,
            numerics=NUMERICS,
            numerics_key=self.numerics_key,
            eval_key=eval_key,
            key_at=self.key_at,
            share=share,
            other_numerics=other_numerics,
        )
        self.step = self.start.from_step
        return self

    def train(
        self,
        until: int,
        *,
        loss: Callable[[int], float] = lambda step: 10.0 - step / 100,
        checkpoints: Sequence[int] = (),
        keep: Sequence[int] = (),
        averages: Mapping[int, Callable[[int], float]] | None = None,
    ) -> FakeWorker:
        """Train to `until`: evaluations at the trial's own steps, weights at each new best, full state as told."""
        for step in range(self.step + 1, until + 1):
            self.step = step
            if step in self.spec.eval_steps():
                self.evaluate(loss(step), averages)
                if self.claim.phase.fit is None and self.record().best_step == step:
                    self.save("weights", keep=keep)
                if averages and self.best_averaged_step() == step:
                    self.save("averaged", keep=keep)
            if step in checkpoints:
                self.save("full", keep=keep)
        return self

    def evaluate(self, loss: float, averages: Mapping[int, Callable[[int], float]] | None = None) -> None:
        rows = [Evaluation(self.step, split, "loss", loss) for split in (TRAIN_SAMPLE, VALIDATION)]
        rows += [
            Evaluation(self.step, averaged_split(horizon), "loss", averaged(self.step))
            for horizon, averaged in (averages or {}).items()
        ]
        self.store.record_evaluation(self.lease, rows, eval_key=self.eval_key, progress=self.progress())

    def save(self, kind: Any, *, keep: Sequence[int] = (), save_total_limit: int = 1) -> Path:
        path = self.store.paths.checkpoint(
            self.claim.study, self.trial, global_step=self.step, kind=kind, epoch=self.lease.epoch
        )
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"weights")
        new = NewCheckpoint(
            global_step=self.step,
            kind=kind,
            path=str(path.relative_to(self.store.paths.home)),
            sha256=digest("weights"),
            weights_digest=f"w{self.step}",
            size_bytes=7,
            recipe_key=self.key_at(self.step),
            numerics_key=self.numerics_key,
        )
        self.store.add_checkpoint(
            self.lease,
            new,
            keep_steps=frozenset(keep),
            save_total_limit=save_total_limit,
            progress=self.progress(),
        )
        return path

    def progress(self) -> Progress:
        return Progress(to_step=self.step, num_skipped_updates=self.step // 50, seconds={"train": float(self.step)})

    def end(self, kind: Any = "complete", reason: str = "") -> FakeWorker:
        self.store.end_trial(
            self.lease, Outcome(kind, reason), weights_digest=f"w{self.step}", progress=self.progress()
        )
        return self

    def record(self) -> Any:
        study = self.store.load(self.claim.study, with_curves=False)
        return next(trial for trial in study.trials() if trial.trial == self.trial)

    def steps(self, split: str = VALIDATION) -> list[int]:
        return [row.global_step for row in self.store.evaluations(self.trial) if row.split == split]

    def best_averaged_step(self) -> int | None:
        rows = self.store.evaluations(self.trial)
        spec = self.claim.phase.eval
        curves = {
            horizon: tuple((row.global_step, row.value) for row in rows if row.split == averaged_split(horizon))
            for horizon in spec.averaged_horizons
        }
        found = best_averaged(curves, spec.direction)
        return None if found is None else found.step

    def kept(self, kind: str) -> list[int]:
        return [file.global_step for file in self.store.checkpoints(self.trial) if file.kind == kind]


def execute(store: Store, sql: str, **values: object) -> list[Any]:
    """Plain SQL on the store's database."""
    with store._database.write() as connection:
        result = connection.execute(text(sql), values)
        return list(result) if result.returns_rows else []


def snapshot(store: Store) -> dict[str, list[Any]]:
    """Every row of every table of ours."""
    from tuner.storage.tables import metadata

    with store._database.read() as connection:
        return {
            table.name: [tuple(row) for row in connection.execute(table.select().order_by(*table.primary_key))]
            for table in metadata.sorted_tables
        }


def count_queries(store: Store, queries: list[str]) -> None:
    """Note every statement from here on."""
    event.listen(
        store._database._engine,
        "before_cursor_execute",
        lambda conn, cursor, statement, *rest: queries.append(statement),
    )
