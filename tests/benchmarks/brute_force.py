"""Is the budget that `tuner` derives the one that training at every budget would have chosen?

    python tests/benchmarks/brute_force.py [digits|quickstart] [KEY=VALUE ...] [--study-seeds 2] [--seeds 3]

Brute force: every budget of a doubling grid trains the points that round 1 has at the study's own seed, several seeds
each, as round 1 would at that budget: its warmup, 20 % of decay, 25 evaluations, the best of them counts. Its answer is
the smallest budget whose best point (by its mean over seeds) lies within one seed deviation of the best budget's; the
deviation is pooled over the best budget's points. It knows no budget between those of its grid, so a choice is compared
twice: as it is (at most a factor of two), and as the grid's nearest budget (at most one place).

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
from tuner.protocol.next_length import carried_steps
from tuner.protocol.rounds import ROUND_1
from tuner.protocol.runs import round_trials, trial_seed
from tuner.records import TRAIN_SAMPLE, VALIDATION, PhasePlan, RunSpec, WorkloadFacts
from tuner.training.loop import Evaluated, train
from tuner.training.run import TrainingRun
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


def runs_of(loaded: LoadedStudy, case: Case, num_seeds: int) -> Iterator[tuple[Row, RunSpec]]:
    """What each run is of, and the run; all of a seed before the next."""
    config = loaded.config
    points = halton_points(config.given_space, config.round_1.num_trials, seed=config.seed, phase=ROUND_1)
    names = workload_hyperparameters(config.workload, folder=loaded.folder)
    facts = WorkloadFacts(
        num_train_examples=0, num_validation_examples=0, num_test_examples=0, metrics=(), hyperparameters=names
    )
    plans = [PhasePlan(name=ROUND_1, kind=ROUND_1, max_train_steps=b, eval=eval_spec(config)) for b in case.budgets]
    trials = [trial for plan in plans for trial in round_trials(config, facts, plan, points)]
    for index in range(num_seeds):
        for trial in sorted(trials, key=lambda trial: (trial.number, trial.spec.max_train_steps)):
            spec = replace(trial.spec, seed=trial_seed(config.seed, index))
            yield {"point": trial.number, "seed": index, "budget": spec.max_train_steps}, spec


def train_run(spec: RunSpec, loaded: LoadedStudy, cache: Path) -> Row:
    """A run's retrospective best; `value` is None if it is infeasible, by the rules of the studies."""
    evaluated, options = eval_spec(loaded.config), spec.workload_options
    workload = build_workload(loaded.config.workload, options, folder=loaded.folder, cache=cache)
    execution = execution_spec(loaded.config, device="cpu", eval_every_steps=spec.eval_every_steps)
    run = TrainingRun(spec, evaluated, execution, workload)
    untrained = run.evaluate(TRAIN_SAMPLE)["loss"]
    losses: list[tuple[int, float]] = []
    curve: list[tuple[int, float]] = []
    for event in train(run, until=spec.max_train_steps, eval_steps=spec.eval_steps(), checkpoint_steps=()):
        if not isinstance(event, Evaluated):
            return {"best_step": None, "value": None}
        values = {(row.split, row.metric): row.value for row in event.evaluations}
        losses.append((event.global_step, values[TRAIN_SAMPLE, "loss"]))
        curve.append((event.global_step, values[VALIDATION, evaluated.metric]))
        if is_diverged(tuple(losses), initial_loss=untrained):
            return {"best_step": None, "value": None}
    found = best(tuple(curve), evaluated.direction)
    assert found is not None, "the last step is an evaluation"
    return {"best_step": found[0], "value": found[1]}


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


def print_brute(found: list[Level], *, metric: str, sign: float) -> None:
    chosen, top = brute_budget(found, sign), min(found, key=lambda level: sign * level.mean)
    print(f"| budget | best mean {metric} | seed deviation | deviations from the best | median best step | point |")
    print("|---|---|---|---|---|---|")
    for level in found:
        budget = f"**{level.budget:,}**" if level.budget == chosen else f"{level.budget:,}"
        gap = sign * (level.mean - top.mean) / top.deviation if top.deviation else 0.0
        cells = (budget, f"{level.mean:.4g}", f"{level.deviation:.2g}", f"{gap:.1f}", f"{level.best_step:,.0f}")
        print(f"| {' | '.join(cells)} | {level.params} |")
    print()


def print_studies(studies: list[Row], *, budget: int, metric: str) -> None:
    print(f"| study seed | round 1's budgets and verdicts | chosen | grid steps apart | answer's {metric} | executed |")
    print("|---|---|---|---|---|---|")
    for row in studies:
        told = ", ".join(f"{steps:,} {verdict}" for steps, verdict in row["rounds"]) or "none"
        cells = ("none", "-", "none")
        if row["chosen"] is not None:
            cells = (f"{row['chosen']:,}", f"{log2(row['chosen'] / budget):+.1f}", f"{row['value']:.4g}")
        print(f"| {row['study_seed']} | {told} | {' | '.join(cells)} | {row['executed']:,} |")
    chosen, answered = (sum(is_close(row[key], budget) for row in studies) for key in ("chosen", "answered"))
    nearest = sum(is_near(row["chosen"], budget) for row in studies)
    print(
        f"\nWithin a factor of two of {budget:,}: {chosen} of {len(studies)} ({answered} by the budget of the answer); "
        f"as the grid's nearest budget within one place: {nearest}.\n"
    )


def print_cost(runs: list[Row], studies: list[Row], *, decay_share: float) -> None:
    (separate, shared), executed = cost(runs, decay_share), fmean(row["executed"] for row in studies)
    print(f"Brute force: {len(runs)} runs, {len({row['seed'] for row in runs})} seeds a point.")
    print(f"Trained separately: {separate:,} steps, {separate / executed:.1f} times the {executed:,.0f} of a study.")
    print(f"With one plateau for all budgets of a point and seed: {shared:,}, {shared / executed:.1f} times.")


def cost(runs: list[Row], decay_share: float) -> tuple[int, int]:
    """Steps of all runs trained separately; and if all budgets of a point and seed ended one plateau (PROTOCOL 8)."""
    by_plateau: dict[tuple[int, int], list[int]] = {}
    for row in runs:
        by_plateau.setdefault((row["point"], row["seed"]), []).append(row["budget"])
    plateaus = sum((1 - decay_share) * max(budgets) for budgets in by_plateau.values())
    separate = sum(row["budget"] for row in runs)
    return separate, round(plateaus + decay_share * separate)


def is_close(chosen: int | None, budget: int) -> bool:
    """Whether a choice lies within a factor of two."""
    return chosen is not None and abs(log2(chosen / budget)) <= 1


def is_near(chosen: int | None, budget: int) -> bool:
    """Whether the budget of the grid that is nearest to a choice, by its ratio, is at most one place away."""
    return chosen is not None and abs(round(log2(chosen / budget))) <= 1


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
        with tempfile.TemporaryDirectory() as cache:
            for of, spec in runs_of(loaded, case, arguments.seeds):
                what = {"kind": "run", "workload": name, "overrides": told, **of}
                if not rows.find(**what):
                    options = ", ".join(f"{key} {value:.3g}" for key, value in spec.workload_options.items())
                    params = f"rate {spec.learning_rate:.3g}, {options}"
                    rows.add({**what, "params": params, **train_run(spec, loaded, Path(cache))})
    except KeyboardInterrupt:
        print("interrupted; this is what there is", file=sys.stderr)
    runs, studies = (rows.find(kind=kind, workload=name, overrides=told) for kind in ("run", "study"))
    if not runs:
        return
    config = loaded.config
    metric, sign = config.evaluation.metric, sign_of(eval_spec(config).direction)
    found = levels(runs, sign)
    print_brute(found, metric=metric, sign=sign)
    if studies:
        print_studies(studies, budget=brute_budget(found, sign), metric=metric)
        print_cost(runs, studies, decay_share=config.training.decay_share)


if __name__ == "__main__":
    main()
