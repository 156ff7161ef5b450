"""Is the budget that `tuner` derives the one that training at every budget would have chosen?

    python tests/benchmarks/brute_force.py [digits|quickstart] [KEY=VALUE ...] [--study-seeds 2] [--seeds 3]

Brute force: every budget of a doubling grid trains the points that round 1 has at the study's own seed, several seeds
each, as round 1 would at that budget: its warmup, 20 % of decay, 25 evaluations, the best of them counts. Its answer is
the smallest budget whose best point (by its mean over seeds) lies within one seed deviation of the best budget's; the
deviation is pooled over the best budget's points.

`tuner`: the real study, once per study seed, in a home of its own, without round 2 (only the budget is asked for);
KEY=VALUE change the study on both sides. The budget it chose is the one that round 1 carries forward.

`--rows FILE` keeps every result as it comes and takes it from there the next time; Ctrl-C prints what there is.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from math import log2
from pathlib import Path
from statistics import fmean, median
from typing import Any

from tuner.analysis.best_steps import best, sign_of
from tuner.analysis.divergence import is_diverged
from tuner.analysis.seeds import pooled_seed_deviation
from tuner.cli.reading import opened_store
from tuner.config.load import LoadedStudy, load_study
from tuner.config.resolve import eval_spec, execution_spec
from tuner.protocol.rounds import ROUND_1
from tuner.protocol.runs import round_trials, trial_seed
from tuner.protocol.second_round import carried_steps
from tuner.records import TRAIN_SAMPLE, VALIDATION, PhasePlan, RunSpec, WorkloadFacts
from tuner.training.loop import CheckpointDue, Evaluated, train
from tuner.training.run import TrainingRun
from tuner.training.schedule import shared_prefix, trunk_end
from tuner.trials.search import halton_points
from tuner.workloads.build import build_workload, workload_hyperparameters

STUDIES = Path(__file__).parents[2] / "studies"
Row = dict[str, Any]

FEW_CHECKPOINTS = "execution.checkpoint_every_steps=100000"
"""Execution only: the digits would spend more time on files than on training. Forks keep theirs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """A study and the grid of budgets, which holds the answer well inside."""

    study: Path
    smallest: int
    num_budgets: int

    @property
    def budgets(self) -> tuple[int, ...]:
        return tuple(self.smallest * 2**doubling for doubling in range(self.num_budgets))


CASES = {
    "digits": Case(study=STUDIES / "digits" / "digits.yaml", smallest=50, num_budgets=7),
    "quickstart": Case(study=STUDIES / "quickstart.yaml", smallest=200, num_budgets=6),
}


class Rows:
    """Results by what they are of, in a file of JSON lines if one is given."""

    def __init__(self, path: Path | None) -> None:
        self._path = path
        lines = path.read_text().splitlines() if path is not None and path.exists() else []
        self.rows: list[Row] = [json.loads(line) for line in lines]

    def find(self, **what: Any) -> list[Row]:
        return [row for row in self.rows if what.items() <= row.items()]

    def add(self, row: Row) -> None:
        self.rows.append(row)
        print(json.dumps(row), file=sys.stderr, flush=True)
        if self._path is not None:
            with self._path.open("a") as file:
                file.write(json.dumps(row) + "\n")


# ---------------------------------------------------------------- brute force


def chains(loaded: LoadedStudy, case: Case, num_seeds: int) -> Iterator[tuple[int, int, list[RunSpec]]]:
    """Point, seed and the runs of all budgets, shortest first; all points of a seed before the next seed."""
    config = loaded.config
    points = halton_points(config.given_space, config.round_1.num_trials, seed=config.seed, phase=ROUND_1)
    names = workload_hyperparameters(config.workload, folder=loaded.folder)
    facts = WorkloadFacts(
        num_train_examples=0, num_validation_examples=0, num_test_examples=0, metrics=(), hyperparameters=names
    )
    plans = [PhasePlan(name=ROUND_1, kind=ROUND_1, max_train_steps=b, eval=eval_spec(config)) for b in case.budgets]
    by_budget = [round_trials(config, facts, plan, points) for plan in plans]
    for index in range(num_seeds):
        for point in range(len(points)):
            seed = trial_seed(config.seed, index)
            yield point, index, [replace(trials[point].spec, seed=seed) for trials in by_budget]


class Trainer:
    """Trains the runs of one point and seed, each from the plateau of the one before if it is the same to the bit."""

    def __init__(self, loaded: LoadedStudy, folder: Path) -> None:
        self._loaded, self._folder = loaded, folder
        self._eval = eval_spec(loaded.config)

    def train_all(self, specs: Sequence[RunSpec]) -> Iterator[Row]:
        donor: RunSpec | None = None
        curves: dict[tuple[str, str], dict[int, float]] = {}
        for spec in specs:
            fork = 0 if donor is None else self._fork_step(donor, spec)
            kept = {step for step in spec.eval_steps() if step <= fork}
            curves = {name: {s: v for s, v in curve.items() if s in kept} for name, curve in curves.items()}
            is_feasible = self._train(spec, curves, fork=fork)
            donor = spec if is_feasible else None
            found = best(_curve(curves, VALIDATION, self._eval.metric), self._eval.direction) if is_feasible else None
            yield {
                "budget": spec.max_train_steps,
                "steps": spec.max_train_steps - fork,
                "best_step": found and found[0],
                "value": found and found[1],
            }

    def _fork_step(self, donor: RunSpec, spec: RunSpec) -> int:
        step = trunk_end(donor)
        measured = {at for at in spec.eval_steps() if at <= step} <= set(donor.eval_steps())
        return step if measured and shared_prefix(donor, spec) >= step else 0

    def _train(self, spec: RunSpec, curves: dict[tuple[str, str], dict[int, float]], *, fork: int) -> bool:
        """Whether the run stayed feasible; its evaluations join `curves`."""
        config = self._loaded.config
        workload = build_workload(
            config.workload, spec.workload_options, folder=self._loaded.folder, cache=self._folder
        )
        execution = execution_spec(config, device="cpu", eval_every_steps=spec.eval_every_steps)
        run, path = TrainingRun(spec, self._eval, execution, workload), self._folder / "plateau.safetensors"
        untrained = run.evaluate(TRAIN_SAMPLE)["loss"]
        if fork:
            run.load(path)
        last = spec.max_train_steps
        events = train(run, until=last, eval_steps=spec.eval_steps(), checkpoint_steps={trunk_end(spec)})
        for event in events:
            if isinstance(event, CheckpointDue):
                run.save_full(path)
            elif isinstance(event, Evaluated):
                for row in event.evaluations:
                    curves.setdefault((row.split, row.metric), {})[row.global_step] = row.value
                if is_diverged(_curve(curves, TRAIN_SAMPLE, "loss"), initial_loss=untrained):
                    return False
            else:
                return False
        return True


def _curve(curves: dict[tuple[str, str], dict[int, float]], split: str, metric: str) -> tuple[tuple[int, float], ...]:
    return tuple(sorted(curves.get((split, metric), {}).items()))


@dataclass(frozen=True, slots=True, kw_only=True)
class Level:
    """What one budget reached: its best point's mean, seed deviation pooled over its points, median best step."""

    budget: int
    mean: float
    deviation: float
    best_step: float
    params: str


def levels(runs: list[Row], sign: float) -> list[Level]:
    found = []
    for budget in sorted({row["budget"] for row in runs}):
        by_point: dict[int, list[Row]] = {}
        for row in runs:
            if row["budget"] == budget:
                by_point.setdefault(row["point"], []).append(row)
        points = [rows for rows in by_point.values() if all(row["value"] is not None for row in rows)]
        values = [[row["value"] for row in rows] for rows in points]
        top = min(points, key=lambda rows: sign * fmean(row["value"] for row in rows))
        level = Level(
            budget=budget,
            mean=fmean(row["value"] for row in top),
            deviation=pooled_seed_deviation(values) or 0.0,
            best_step=median(row["best_step"] for row in top),
            params=top[0]["params"],
        )
        found.append(level)
    return found


def brute_budget(found: list[Level], sign: float) -> int:
    """The smallest budget within one seed deviation of the best."""
    top = min(found, key=lambda level: sign * level.mean)
    return min(level.budget for level in found if sign * (level.mean - top.mean) <= top.deviation)


# ---------------------------------------------------------------- tuner


def run_study(study: Path, seed: int, overrides: Sequence[str]) -> Row:
    """One real study in a home of its own: nothing is shared with another."""
    with tempfile.TemporaryDirectory() as home:
        settings = (f"seed={seed}", "study=brute", "round_2=null", FEW_CHECKPOINTS, *overrides)
        command = [sys.executable, "-m", "tuner", "run", str(study), *settings, "--home", home, "--workers", "1"]
        ended = subprocess.run(command, check=False, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        if ended.returncode not in (0, 3):
            raise RuntimeError(f"{' '.join(command)} ended with {ended.returncode}:\n{ended.stderr}")
        with opened_store(Path(home), None) as store:
            record, bill = store.load("brute"), store.bill("brute")
    rounds = [phase for phase in record.phases if phase.plan.kind == "round_1"]
    return {
        "executed": bill["executed"],
        "rounds": [[phase.plan.max_train_steps, phase.verdict] for phase in rounds],
        "chosen": carried_steps(record, rounds[-1]) if record.answer else None,
        "answered": record.answer and record.answer.max_train_steps,
        "value": record.answer and record.answer.best_value,
    }


# ---------------------------------------------------------------- tables


def print_brute(found: list[Level], runs: list[Row], *, sign: float, metric: str) -> None:
    chosen, top = brute_budget(found, sign), min(found, key=lambda level: sign * level.mean)
    print(f"| budget | best mean {metric} | seed deviation | deviations from the best | median best step | point |")
    print("|---|---|---|---|---|---|")
    for level in found:
        budget = f"**{level.budget:,}**" if level.budget == chosen else f"{level.budget:,}"
        gap = sign * (level.mean - top.mean) / top.deviation if top.deviation else 0.0
        cells = (budget, f"{level.mean:.4g}", f"{level.deviation:.2g}", f"{gap:.1f}", f"{level.best_step:,.0f}")
        print(f"| {' | '.join(cells)} | {level.params} |")
    separate, shared = cost(runs)
    num_seeds = len({row["seed"] for row in runs})
    print(f"\nBrute force chose {chosen:,} steps; seeds per point: {num_seeds}. Its {len(runs)} runs")
    print(f"are {separate:,} steps trained separately, {shared:,} when plateaus equal to the bit are trained once.\n")


def print_studies(studies: list[Row], *, budget: int, runs: list[Row]) -> None:
    print(
        "| study seed | round 1's budgets and verdicts | chosen | grid steps from brute force | answered | executed |"
    )
    print("|---|---|---|---|---|---|")
    for row in studies:
        told = ", ".join(f"{steps:,} {verdict}" for steps, verdict in row["rounds"]) or "none"
        cells = ("none", "-", "none")
        if row["chosen"] is not None:
            cells = (f"{row['chosen']:,}", f"{log2(row['chosen'] / budget):+.1f}", f"{row['answered']:,}")
        print(f"| {row['study_seed']} | {told} | {' | '.join(cells)} | {row['executed']:,} |")
    chosen, answered = (sum(is_close(row[key], budget) for row in studies) for key in ("chosen", "answered"))
    executed, (separate, shared) = fmean(row["executed"] for row in studies), cost(runs)
    print(f"\nWithin one grid step of {budget:,}: {chosen} of {len(studies)} ({answered} by the budget of the answer).")
    print(f"A study executed {executed:,.0f} steps on average; brute force is {separate / executed:.1f} times that,")
    print(f"{shared / executed:.1f} times with shared plateaus.")


def cost(runs: list[Row]) -> tuple[int, int]:
    """Steps of all runs, trained separately and with shared plateaus."""
    return sum(row["budget"] for row in runs), sum(row["steps"] for row in runs)


def is_close(chosen: int | None, budget: int) -> bool:
    """Whether a choice lies within one grid step, a doubling."""
    return chosen is not None and abs(log2(chosen / budget)) <= 1


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("workload", nargs="?", choices=sorted(CASES), default="digits")
    parser.add_argument("overrides", nargs="*", metavar="KEY=VALUE")
    parser.add_argument("--study-seeds", type=int, default=2)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--rows", type=Path)
    arguments = parser.parse_args()
    name, case, rows = arguments.workload, CASES[arguments.workload], Rows(arguments.rows)
    loaded = load_study(case.study, arguments.overrides)
    told = " ".join(arguments.overrides)
    try:
        for seed in range(1, arguments.study_seeds + 1):
            what = {"kind": "study", "workload": name, "overrides": told, "study_seed": seed}
            if not rows.find(**what):
                rows.add(what | run_study(case.study, seed, arguments.overrides))
        with tempfile.TemporaryDirectory() as folder:
            trainer = Trainer(loaded, Path(folder))
            for point, index, specs in chains(loaded, case, arguments.seeds):
                what = {"kind": "run", "workload": name, "overrides": told, "point": point, "seed": index}
                if not rows.find(**what):
                    options = ", ".join(f"{key} {value:.3g}" for key, value in specs[0].workload_options.items())
                    what["params"] = f"rate {specs[0].learning_rate:.3g}, {options}"
                    for row in list(trainer.train_all(specs)):
                        rows.add(what | row)
    except KeyboardInterrupt:
        print("interrupted; this is what there is", file=sys.stderr)
    runs, studies = (rows.find(kind=kind, workload=name, overrides=told) for kind in ("run", "study"))
    sign = sign_of(eval_spec(loaded.config).direction)
    if runs:
        found = levels(runs, sign)
        print_brute(found, runs, sign=sign, metric=loaded.config.evaluation.metric)
        if studies:
            print_studies(studies, budget=brute_budget(found, sign), runs=runs)


if __name__ == "__main__":
    main()
