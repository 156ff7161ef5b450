"""Random plans, carried out in this process: no step is done twice where every fork is known beforehand.

The one rule: protocol, planner, claims, runner, store and files are the real ones; only who comes next, of several
workers that take turns, is drawn by the seed.
"""

from __future__ import annotations

import os
import random
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from campaign import Campaign
from numpy_trainer import ToyBench

from tuner.config.canonical import config_to_json
from tuner.config.schema import StudyConfig
from tuner.records import Conclude, GiveUp, Move, StudyRecord, Wait
from tuner.storage.store import Owner, Store
from tuner.trials.bench import Control, Sharing
from tuner.trials.planner import Planner
from tuner.trials.runner import run_trial

RAM: Final = Path("/dev/shm")


class Unmirrored:
    """Stands for Optuna's tables, which hold nothing that decides."""

    def follow(self, record: StudyRecord, *, warn: Callable[[str], None]) -> None: ...


def random_plan(seed: int) -> StudyConfig:
    """A study whose every fork follows from its settings; the exact stop is off."""
    draw = random.Random(f"plan {seed}")
    schedule = draw.choice(("warmup_stable_decay",) * 5 + ("linear", "cosine"))
    has_plateau = schedule == "warmup_stable_decay"
    training: dict[str, Any] = {"optimizer": "sgd", "momentum": 0.5, "schedule": schedule}
    training["warmup_steps"] = draw.choice((0, 3, 5, "auto"))
    if has_plateau:
        training |= {
            "decay_share": draw.choice((0.1, 0.2, 0.33, 0.4)),
            "decay_shape": draw.choice(("linear", "1-sqrt", "cosine")),
        }
    space: dict[str, Any] = {"learning_rate": {"low": 0.04, "high": 0.14, "scale": "log"}}
    if draw.random() < 0.3:
        space["momentum"] = {"low": 0.1, "high": 0.6}
    has_frontier = has_plateau and draw.random() < 0.5
    return StudyConfig.model_validate(
        {
            "study": "toy",
            "seed": seed,
            "workload": {"kind": "python", "class": "numpy_trainer:Toy"},
            "training": training,
            "evaluation": {"metric": "loss", "every_steps": draw.choice(("auto", 4, 7, 12, 24))},
            **_budget(draw),
            "search_space": space,
            "round_1": _round_1(draw, has_plateau=has_plateau, is_adjusted=not has_frontier),
            **_later(draw, all_given=has_frontier),
            **({"frontier": _frontier(draw)} if has_frontier else {}),
            "execution": {"checkpoint_every_steps": draw.choice((5, 9, 20, 50, "auto")), "device": "cpu"},
        }
    )


def _budget(draw: random.Random) -> dict[str, Any]:
    rates = {"low": 0.1, "high": 1.8, "num_rates": draw.choice((3, 4))}
    sweep = {"learning_rates": rates, "max_widenings": draw.choice((0, 1)), "stop_when_dominated": False}
    budget: dict[str, Any] = {"first_guess_steps": draw.choice((30, 60)), "max_steps": 240}
    if draw.random() < 0.25:
        budget |= {"production_steps": draw.choice((150, 230))}
        return {"budget": budget, "budget_sweep": sweep, "workload_kind": "compute_bound"}
    return {"budget": {**budget, "perfect_fit": {"metric": "loss", "at_most": 0.064}}, "budget_sweep": sweep}


def _round_1(draw: random.Random, *, has_plateau: bool, is_adjusted: bool) -> dict[str, Any]:
    adjust = draw.choice(("raw", "raw", "none", "probe") if has_plateau else ("raw", "none")) if is_adjusted else "none"
    return {
        "num_trials": draw.choice((2, 3, 5)),
        "adjust": adjust,
        "max_adjustments": draw.choice((1, 2)),
        "decay_shares": draw.choice(((), (0.4,), (0.1, 0.2, 0.4))),
        "widen_at_edge": draw.random() < 0.5,
    }


def _later(draw: random.Random, *, all_given: bool) -> dict[str, Any]:
    """Where a frontier will leave a trunk is known beforehand if all lengths are given, and none is found out."""
    rounds = [
        {
            "num_trials": draw.choice((1, 2, 3)),
            "num_seeds": draw.choice((1, 1, 2)),
            "budget_multiple": draw.choice((1, 1.3, 1.5, 2, *(() if all_given else ("auto",)))),
            "lower_rate_twin": draw.random() < 0.5,
        }
        for _ in range(draw.choice((1, 1, 2, 3) if all_given else (0, 1, 1, 2, 3)))
    ]
    return {"rounds": rounds} if rounds else {}


def _frontier(draw: random.Random) -> dict[str, Any]:
    return {
        "num_budgets": draw.choice((2, 3, 5)),
        "decay_share": draw.choice((None, 0.1, 0.3)),
        "decay_shape": draw.choice(("auto", "linear", "1-sqrt")),
        "num_seeds": draw.choice((1, 2)),
        "half_rate": draw.random() < 0.5,
    }


@dataclass
class Turns:
    """Of several workers one works at a time; whose turn is next, after each evaluation, is drawn."""

    draw: random.Random
    workers: list[int]
    current: int = 0
    training: set[int] = field(default_factory=set)
    failed: list[BaseException] = field(default_factory=list)
    changed: threading.Condition = field(default_factory=threading.Condition)

    def await_turn(self, me: int) -> None:
        with self.changed:
            self.changed.wait_for(lambda: self.current == me)

    def pass_on(self, me: int) -> None:
        with self.changed:
            self.current = self.draw.choice(self.workers)
            self.changed.notify_all()
        self.await_turn(me)

    def leave(self, me: int) -> None:
        with self.changed:
            self.workers.remove(me)
            if self.workers:
                self.current = self.draw.choice(self.workers)
            self.changed.notify_all()


class InProcess:
    """A study, its planner, and workers that take turns."""

    def __init__(
        self, store: Store, config: StudyConfig, *, num_workers: int = 1, share: bool = True, seed: int = 0
    ) -> None:
        self.store, self.config, self.share = store, config, share
        store.create_study(config.study, config=config_to_json(config), folder="", command="tuner run toy.yaml")
        lease = store.acquire_planner(config.study, Owner.of_this_process("planner"))
        self.planner = Planner(store, lease, config, mirror=Unmirrored(), warn=print)  # type: ignore[arg-type]
        self.planner.learn(self._bench().facts(), "exact")
        self.end: Move | None = None
        self._turns = Turns(random.Random(f"turns {seed}"), list(range(num_workers)))

    def run(self) -> dict[str, Any]:
        """To the end; the bill.

        Raises:
            AssertionError: if it does not end.
        """
        self._advance()
        threads = [threading.Thread(target=self._work, args=(me,)) for me in self._turns.workers]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        if self._turns.failed:
            raise self._turns.failed[0]
        assert self.end is not None, "every worker left an unfinished study"
        return self.store.bill(self.config.study)

    def seconds_of_phase(self, name: str) -> float:
        """How long a phase took one worker, from its opening to its end; nothing follows."""
        began = None
        while True:
            move, record = self.planner.advance()
            assert not isinstance(move, Conclude | GiveUp), f"{name} never came: {move}"
            phase = next((phase for phase in record.phases if phase.name == name), None)
            if phase is not None and began is None:
                began = time.perf_counter()
            if began is not None and phase is not None and all(trial.is_ended for trial in phase.trials):
                return time.perf_counter() - began
            if isinstance(move, Wait):
                claim = self.store.claim(self.config.study, Owner.of_this_process("worker 0"), share=True)
                assert claim is not None
                run_trial(claim, self._bench())

    def _bench(self) -> ToyBench:
        return ToyBench(self.store, self.config, Sharing(share=self.share), Control())

    def _advance(self) -> None:
        while self.end is None:
            move, _ = self.planner.advance()
            if isinstance(move, Conclude | GiveUp):
                self.end = self.planner.finish(move)
            elif isinstance(move, Wait):
                return

    def _work(self, me: int) -> None:
        turns, owner, bench = self._turns, Owner.of_this_process(f"worker {me}"), self._bench()
        bench.on_progress = lambda trial, step: turns.pass_on(me)
        turns.await_turn(me)
        try:
            while not turns.failed:
                claim = self.store.claim(self.config.study, owner, share=self.share)
                if claim is not None:
                    turns.training.add(me)
                    run_trial(claim, bench)
                    turns.training.discard(me)
                    self._advance()
                elif not turns.training:
                    return
                turns.pass_on(me)
        except BaseException as error:
            turns.training.discard(me)
            turns.failed.append(error)
        finally:
            turns.leave(me)


def no_step_twice(seed: int, folder: Path) -> None:
    """A random plan by one to three workers: as many steps as its tree has, and none beside."""
    home = RAM if os.access(RAM, os.W_OK) else folder
    with tempfile.TemporaryDirectory(dir=home) as home_folder:
        store = Store.open(None, Path(home_folder))
        try:
            study = InProcess(store, random_plan(seed), num_workers=1 + seed % 3, seed=seed)
            bill = study.run()
            assert bill["executed"] == bill["stage_tree"] + bill["recomputed"] + bill["overshoot"]
            assert (bill["recomputed"], bill["overshoot"]) == (num_own_ends(store), 0), told(store, bill)
        finally:
            store.close()


def num_own_ends(store: Store) -> int:
    """Cooldowns of one update: its rate is the trunk's, but its evaluation is not, so that it is done again (D7).

    Unless a trial that ended there has it: then nothing is done at all.
    """
    return sum(
        trial.spec.schedule.decay_steps == 1
        and trial.spec.max_train_steps < phase.plan.max_train_steps
        and trial.steps_executed == 1
        for phase in store.load("toy", with_curves=False).phases
        if phase.plan.kind == "frontier"
        for trial in phase.trials
    )


def told(store: Store, bill: dict[str, Any]) -> str:
    """What a reader needs to see where steps were done twice."""
    lines = [f"{bill}"]
    for trial in store.load("toy", with_curves=False).trials():
        fork = f"{trial.forked_from.trial}@{trial.forked_from.step}" if trial.forked_from else "-"
        spec = trial.spec
        lines.append(
            f"{trial.trial:3} {trial.phase:14} rate {spec.learning_rate:.5g} seed {spec.seed} T {spec.max_train_steps} "
            f"D {spec.schedule.decay_steps} {spec.schedule.decay_shape} every {spec.eval_every_steps} from {fork} "
            f"executed {trial.steps_executed} last {trial.last_step} keeps {spec.fork_steps} "
            f"files {[file.global_step for file in store.checkpoints(trial.trial) if file.kind == 'full']}"
        )
    return "\n".join(lines)


CAMPAIGNS = (
    Campaign(
        name="plans",
        promise="a random plan whose forks are known beforehand: no step is done twice, by one to three workers",
        num_ci=2,
        num_full=300,
        run=no_step_twice,
    ),
)
