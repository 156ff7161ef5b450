"""A whole toy study in this process: planner, store, claims and runner are the real ones; processes and mirror are not.

The one rule: nothing is kept between runs but the home folder, so that each run is a resume.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from numpy_trainer import ToyBench
from yaml import safe_load

from tuner.config.added_points import added_points
from tuner.config.canonical import config_from_json, config_to_json
from tuner.config.extension import changes, extended_config
from tuner.config.schema import StudyConfig
from tuner.protocol.extension import extension, new_points
from tuner.protocol.joined import joined_name
from tuner.protocol.space import space_of
from tuner.records import TEST, Conclude, Decision, Evaluation, GiveUp, StudyRecord, Wait
from tuner.storage.store import Owner, Store
from tuner.storage.verify import inspect, verify
from tuner.trials.bench import Control, Sharing
from tuner.trials.best_weights import whole_best_weights
from tuner.trials.planner import Planner
from tuner.trials.runner import run_trial

NAME = "toy"
MAX_MOVES = 200


class NoMirror:
    """Stands for Optuna's tables, whose import takes a second."""

    def follow(self, record: StudyRecord, *, warn: object) -> None: ...


class WholeStudy:
    """A study that this process takes to its end, as often as it is asked to."""

    def __init__(self, home: Path, text: str) -> None:
        self.store = Store.open(None, home)
        self.me = Owner.of_this_process("planner")
        self.warnings: list[str] = []
        config = config_to_json(StudyConfig.model_validate(safe_load(text)))
        self.store.create_study(NAME, config=config, folder=str(home), command="tuner run toy.yaml")

    @property
    def config(self) -> StudyConfig:
        return config_from_json(self.store.study(NAME).config)

    def record(self) -> StudyRecord:
        return self.store.load(NAME)

    def names(self) -> list[str]:
        return [phase.name for phase in self.record().phases]

    def run(
        self, extension: Sequence[Decision] = (), config: StudyConfig | None = None, *, until: str | None = None
    ) -> WholeStudy:
        """To its end, or until a phase opens."""
        config = config or self.config
        lease = self.store.acquire_planner(NAME, self.me)
        planner = Planner(self.store, lease, config, mirror=NoMirror(), warn=self.warnings.append)  # type: ignore[arg-type]
        planner.extension = tuple(extension)
        bench = ToyBench(self.store, config, Sharing(), Control())
        bench.on_warning = self.warnings.append
        planner.learn(bench.facts(), bench.sharing_kind())
        try:
            for _ in range(MAX_MOVES):
                move, record = planner.advance()
                if isinstance(move, Wait):
                    while claim := self.store.claim(NAME, self.me):
                        run_trial(claim, bench)
                if isinstance(move, Conclude | GiveUp):
                    planner.finish(move, self._test_rows(move, record, bench) if isinstance(move, Conclude) else ())
                    return self
                if until is not None and self.names()[-1:] == [until]:
                    return self
        finally:
            self.store.release(lease)
        raise AssertionError(f"no end after {MAX_MOVES} moves: {self.warnings}")

    def extend(self, *overrides: str, points: Sequence[str] = (), until: str | None = None) -> WholeStudy:
        """As `tuner extend` does."""
        old, record = self.config, self.record()
        config = extended_config(old, overrides)
        space, answer = space_of(config, record.decisions), record.answer
        given = added_points(points, config, space, answer=None if answer is None else answer.params)
        return self.run([extension(record, changes(old, config), new_points(record, given))], config, until=until)

    def measure_frontier(self, **asked: Any) -> WholeStudy:
        """As `tuner frontier` does."""
        from tuner.config.frontier_options import with_frontier

        config = with_frontier(self.config, asked)
        self.store.update_config(NAME, config_to_json(config))
        return self.run()

    def results(self) -> dict[tuple[Any, ...], tuple[Any, ...]]:
        """What each run came to, wherever it stands: a trial that joined a phase counts as one of it."""
        return {
            (joined_name(trial.phase), str(trial.params), trial.spec.seed, trial.spec.max_train_steps): (
                *(trial.outcome, trial.last_step, trial.best_step, trial.best_value, trial.weights_digest),
                *(row for row in self.store.evaluations(trial.trial) if row.split != TEST),
            )
            for trial in self.record().trials()
        }

    def bill(self) -> dict[str, int]:
        """The accounts of steps; every invariant of what is stored holds, too."""
        inspection = inspect(self.store, NAME)
        assert [finding for check in verify(self.store, inspection) for finding in check.findings] == []
        bill = self.store.bill(NAME)
        assert bill["executed"] == bill["stage_tree"] + bill["recomputed"] + bill["overshoot"]
        return {
            account: int(bill[account]) for account in ("requested", "executed", "shared", "recomputed", "overshoot")
        }

    def _test_rows(self, move: Conclude, record: StudyRecord, bench: ToyBench) -> tuple[Evaluation, ...]:
        if move.answer.test_value is not None:
            return ()
        trial = next(each for each in record.trials() if each.trial == move.answer.best_trial)
        spec = record.phase_of(trial).plan.eval
        best = whole_best_weights(bench, trial, spec)  # type: ignore[arg-type]
        assert best is not None
        values = bench.test_values(trial, spec, best)
        return tuple(Evaluation(best.global_step, TEST, metric, value) for metric, value in values.items())
