"""What does the whole protocol with a frontier cost, against the alternatives?

    python tests/benchmarks/protocol_cost.py [KEY=VALUE ...] [--repetitions 3] [--workers 1] [--rows FILE]

The same runs on the same model, tokens and number of processes, by

(a) `tuner run`; (b) `tuner run --no-sharing`; (c) `rivals/optuna_trainer.py`; (d) `rivals/ray_tune.py`, if ray is
installed. The study is studies/quickstart.yaml, reduced, with a frontier of eight budgets. (c) and (d) carry out the
list of runs that (a)'s protocol decided on, each once and from its first step, in the same phases; so the work is the
same and decisions are free for them. Steps are counted exactly. (a) and (b) must decide the same and end in the same
weights, or this fails.

Averaged weights, which (c) and (d) do not have, are off in these. (e) is the study with them, as by default, and then
`tuner frontier --proxy` in the same home: what they cost, and whether the knee is that of the real cooldowns.

Contestants are interleaved, the order turns with each repetition, and medians are compared. On a busy machine CPU time
(of all processes) is the better measure. `--rows FILE` keeps every result as it comes and takes it from there the next
time; Ctrl-C prints what there is.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from brute_force import Rows
from counted_steps import Run, each_once, stage_tree

from tuner.cli.reading import opened_store
from tuner.config.load import LoadedStudy, load_study
from tuner.config.resolve import eval_spec
from tuner.protocol.frontier import frontier_of, latest
from tuner.protocol.frontier_budgets import FRONTIER
from tuner.records import TRAIN_SAMPLE, VALIDATION, RunSpec, StudyRecord
from tuner.report.frontiers import frontier_payload
from tuner.storage.attempts import ACCOUNTS
from tuner.storage.record_json import from_json, to_json
from tuner.training.evaluation import evaluated_examples
from tuner.workloads.build import build_workload
from tuner.workloads.causal_lm import CausalLM

STUDY, NAME = Path(__file__).parents[2] / "studies" / "quickstart.yaml", "cost"
REDUCED = (
    f"study={NAME}",
    "workload.model.num_layers=1",
    "workload.model.hidden_size=32",
    "workload.model.num_heads=1",
    "workload.block_size=32",
    "workload.split.max_train_tokens=16000",
    "evaluation.train_sample=16",
    "evaluation.max_validation_examples=16",
    "evaluation.averaged_horizons=[]",
    "budget.first_guess_steps=50",
    "budget.max_steps=2000",
    "budget.perfect_fit.at_most=3.0",
    "budget_sweep.learning_rates.low=1e-3",
    "budget_sweep.learning_rates.high=6.4e-2",
    "budget_sweep.learning_rates.num_rates=4",
    "search_space.learning_rate={low: 3e-3, high: 2e-2, scale: log}",
    "round_1.num_trials=3",
    "frontier.decay_share=0.2",
)
RIVALS = Path(__file__).parent / "rivals"
TUNER, UNSHARED, OPTUNA, RAY = "(a) tuner", "(b) tuner --no-sharing", "(c) Optuna + Trainer", "(d) Ray Tune + Trainer"
AVERAGED = "(e) tuner, averaged weights"
Row = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Bench:
    """What all contestants are given."""

    loaded: LoadedStudy
    settings: tuple[str, ...]
    workers: int


# ---------------------------------------------------------------- contestants


def timed(command: Sequence[str]) -> Row:
    """Wall and CPU seconds of a command with all its processes."""
    load, before, began = os.getloadavg()[0], _cpu_seconds(), time.perf_counter()
    ended = subprocess.run(command, check=False, capture_output=True, text=True)
    seconds, cpu = time.perf_counter() - began, _cpu_seconds() - before
    if ended.returncode:
        raise RuntimeError(f"{' '.join(command)} ended with {ended.returncode}:\n{ended.stderr}")
    return {"seconds": seconds, "cpu_seconds": cpu, "load": load}


def _cpu_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def run_tuner(bench: Bench, *options: str) -> Row:
    """One real study in a home of its own."""
    with tempfile.TemporaryDirectory() as home:
        return run_study(bench, home, ["run", str(STUDY), *bench.settings, *options])[0]


def run_averaged(bench: Bench) -> Row:
    """The study with averaged weights, then its frontier again by proxies, which is timed for itself."""
    settings = [each for each in bench.settings if not each.startswith("evaluation.averaged_horizons")]
    given = bench.loaded.config.frontier
    assert given is not None
    proxy = ["frontier", NAME, "--proxy", f"--decay-share={given.decay_share}"]
    with tempfile.TemporaryDirectory() as home:
        row, exact = run_study(bench, home, ["run", str(STUDY), *settings])
        again, by_proxy = run_study(bench, home, proxy)
    frontiers = [exact, by_proxy | {"seconds": again["seconds"]}]
    return {**row, "phases": again["phases"], "frontiers": frontiers}


def run_study(bench: Bench, home: str, command: Sequence[str]) -> tuple[Row, Row]:
    """A command on the study: what it took and found, and its latest frontier."""
    row = timed([sys.executable, "-m", "tuner", *command, "--home", home, "--workers", str(bench.workers)])
    with opened_store(Path(home), None) as store:
        record, bill = store.load(NAME), store.bill(NAME)
    phase = latest(record)
    assert phase is not None
    found = frontier_of(record, phase)
    assert found is not None
    frontier = frontier_payload(record, phase, found, seconds_per_step=None)
    return {**row, "bill": bill, "executed": bill["executed"], **found_by(record)}, frontier


def found_by(record: StudyRecord) -> Row:
    """What a study decided and trained, comparable between runs."""
    phases = [
        {
            "name": phase.name,
            "kind": phase.plan.kind,
            "trials": [
                {
                    "spec": to_json(trial.spec),
                    "last_step": trial.last_step,
                    "executed": trial.steps_executed,
                    "digest": trial.weights_digest,
                    "best": [trial.best_step, trial.best_value],
                }
                for trial in phase.trials
            ],
        }
        for phase in record.phases
    ]
    decisions = [[each.kind, each.phase, each.reason, each.numbers] for each in record.decisions]
    return {"phases": phases, "decisions": decisions}


def run_rival(bench: Bench, script: str, phases: list[Row]) -> Row:
    """A script of others on the runs that (a) decided on."""
    with tempfile.TemporaryDirectory() as folder:
        plan, results = Path(folder, "plan.json"), Path(folder, "results.json")
        plan.write_text(json.dumps(plan_of(bench.loaded, phases, Path(folder))))
        command = [sys.executable, str(RIVALS / script), str(plan), str(results)]
        row = timed([*command, "--processes", str(bench.workers)])
        done = json.loads(results.read_text())
    return {**row, "executed": sum(each["steps"] for each in done), "num_runs": len(done)}


def plan_of(loaded: LoadedStudy, phases: list[Row], folder: Path) -> Row:
    """The runs of a study for those who share nothing, each once, with the tokens and the model as plain data."""
    config, seen, listed = loaded.config, set[str](), list[Row]()
    for phase in phases:
        runs = []
        for spec, length in runs_of([phase]):
            run = {
                "seed": spec.seed,
                "max_train_steps": length,
                "learning_rate": spec.learning_rate,
                "dropout": spec.workload_options.get("dropout", 0.0),
                "weight_decay": spec.optimizer.weight_decay,
                "warmup_steps": spec.schedule.warmup_steps,
                "decay_steps": spec.schedule.decay_steps,
                "eval_every_steps": spec.eval_every_steps,
            }
            key = json.dumps(run | {"eval_every_steps": 0})
            if key not in seen:
                runs.append(run)
            seen.add(key)
        if runs:
            listed.append({"name": phase["name"], "runs": runs})
    with tempfile.TemporaryDirectory() as cache:
        workload = build_workload(config.workload, {}, folder=loaded.folder, cache=Path(cache))
        assert isinstance(workload, CausalLM)
        evaluated, data = eval_spec(config), folder / "blocks.npz"
        blocks = {"train": np.arange(workload.num_examples(TRAIN_SAMPLE))}
        for name, split in (("train_sample", TRAIN_SAMPLE), ("validation", VALIDATION)):
            blocks[name] = evaluated_examples(workload.num_examples(split), split, evaluated)
        splits = {"train": TRAIN_SAMPLE, "train_sample": TRAIN_SAMPLE, "validation": VALIDATION}
        np.savez(data, **{name: workload.batch(splits[name], rows)["inputs"].numpy() for name, rows in blocks.items()})
        model = workload.build_model().config.to_dict()  # type: ignore[union-attr, operator]
    names = ("vocab_size", "n_positions", "n_embd", "n_layer", "n_head", "n_inner", "bos_token_id", "eos_token_id")
    sizes = {name: model[name] for name in names}
    return {
        "data": str(data),
        "model": {**sizes, "use_cache": False},
        "batch_size": config.training.global_batch_size,
        "eval_batch_size": evaluated.batch_size,
        "max_grad_norm": config.training.max_grad_norm,
        "phases": listed,
    }


def runs_of(phases: list[Row]) -> list[Run]:
    return [(from_json(RunSpec, t["spec"]), t["last_step"]) for phase in phases for t in phase["trials"]]


# ---------------------------------------------------------------- what must agree


def require_equal(rows: list[Row]) -> None:
    """(a) and (b), at every repetition, decided the same and ended in the same weights, bit for bit.

    Raises:
        SystemExit: if they did not.
    """
    first = rows[0]
    for row in rows[1:]:
        if row["decisions"] != first["decisions"]:
            raise SystemExit(f"{row['contestant']} decided otherwise than {first['contestant']}")
        for ours, theirs in zip(first["phases"], row["phases"], strict=True):
            for one, other in zip(ours["trials"], theirs["trials"], strict=True):
                if any(one[key] != other[key] for key in ("spec", "last_step", "digest", "best")):
                    raise SystemExit(f"{row['contestant']}: a trial of {ours['name']} differs: {one} {other}")


# ---------------------------------------------------------------- tables


def print_steps(rows: dict[str, list[Row]]) -> None:
    """Steps of each part of the study."""
    phases = rows[TUNER][0]["phases"]
    parts: dict[str, Callable[[Row], bool]] = {
        "protocol without the frontier": lambda phase: phase["kind"] != FRONTIER,
        "frontier on the study's trunks": lambda phase: phase["kind"] == FRONTIER,
        "protocol with the frontier": lambda phase: True,
    }
    print("| steps | separately (b) | each run once (c, d) | (a) | bound | (b) / (a) | (c) / (a) |\n|" + "---|" * 7)
    before, before_once = 0, 0
    for name, is_part in parts.items():
        chosen = [phase for phase in phases if is_part(phase)]
        unshared = [phase for row in rows.get(UNSHARED, ())[:1] for phase in row["phases"] if is_part(phase)]
        executed = _executed(chosen)
        separately = _executed(unshared) if unshared else sum(length for _, length in runs_of(chosen))
        once, bound = each_once(runs_of(chosen)), stage_tree(runs_of(chosen))
        if name.startswith("frontier"):
            # What the study had trained already counts for neither side.
            everything = runs_of(phases)
            once, bound = each_once(everything) - before_once, stage_tree(everything) - before
        before, before_once = bound, once
        cells = (separately, once, executed, bound)
        ratios = (f"{separately / executed:.2f}", f"{once / executed:.2f}")
        print(f"| {name} | {' | '.join(f'{each:,}' for each in cells)} | {' | '.join(ratios)} |")
    alone = runs_of([phase for phase in phases if phase["kind"] == FRONTIER])
    total, tree = sum(length for _, length in alone), stage_tree(alone)
    print(
        f"| frontier alone | {total:,} | {each_once(alone):,} | ({tree:,}) | {tree:,} | {total / tree:.2f} | ", end=""
    )
    print(f"{each_once(alone) / tree:.2f} |\n")


def _executed(phases: list[Row]) -> int:
    return sum(trial["executed"] for phase in phases for trial in phase["trials"])


def print_clock(rows: dict[str, list[Row]], workers: int) -> None:
    def middle(name: str, key: str) -> float:
        return median(row[key] for row in rows[name])

    heads = ("processes: " + str(workers), "runs", "steps", "/ (a)", "CPU s", "/ (a)", "wall s", "/ (a)", "load")
    print(f"| {' | '.join(heads)} |")
    print("|" + "---|" * 9)
    for name in rows:
        told = [f"{len(rows[name])} x", f"{rows[name][0]['executed']:,}"]
        told.append(f"{rows[name][0]['executed'] / rows[TUNER][0]['executed']:.2f}")
        for key in ("cpu_seconds", "seconds"):
            told += [f"{middle(name, key):.0f}", f"{middle(name, key) / middle(TUNER, key):.2f}"]
        print(f"| {name} | {' | '.join(told)} | {middle(name, 'load'):.0f} |")
    if RAY not in rows and importlib.util.find_spec("ray") is None:
        print(f"| {RAY} | skipped: ray is not installed |")
    print()


def print_accounts(rows: dict[str, list[Row]], workers: int) -> None:
    """Where the wall clock of `tuner` went: the workers' accounts, and what is in none of them."""
    heads = ("share of wall clock", *ACCOUNTS, "idle", "none: start, claims and commits between trials, the end")
    print(f"| {' | '.join(heads)} |\n|{'---|' * len(heads)}")
    for name in (TUNER, UNSHARED, AVERAGED):
        shares = [_shares(row, workers) for row in rows.get(name, ())]
        if shares:
            print(f"| {name} | {' | '.join(f'{median(each):.0%}' for each in zip(*shares, strict=True))} |")
    print()


def _shares(row: Row, workers: int) -> list[float]:
    accounts, total = row["bill"]["seconds"], row["seconds"] * workers
    known = [accounts[name] / total for name in (*ACCOUNTS, "idle")]
    return [*known, 1 - sum(known)]


def print_frontiers(rows: Sequence[Row]) -> None:
    """The frontier of real cooldowns, and the one by proxies that was added to it."""
    if not rows:
        return
    print("| frontier | budgets | steps on what the study had trained | as a tree alone | knee | best | holds |")
    print("|---|---|---|---|---|---|---|")
    phases = [phase for phase in rows[0]["phases"] if phase["kind"] == FRONTIER]
    for name, told, phase in zip(("exact", "by proxies"), rows[0]["frontiers"], phases, strict=True):
        tree, holds = stage_tree(runs_of([phase])), told["proxy"] is None or told["proxy"]["holds"]
        cells = (f"{_executed([phase]):,}", f"{tree:,}", *(f"{told[key] or 0:,}" for key in ("knee", "best")))
        print(f"| {name} | {len(told['budgets'])} | {' | '.join(cells)} | {'yes' if holds else 'refused'} |")
    seconds = median(row["frontiers"][1]["seconds"] for row in rows)
    print(f"\nThe proxies took {seconds:.0f} s, start-up included.")


# ---------------------------------------------------------------- the run


def measure(bench: Bench, repetitions: int, rows: Rows) -> None:
    """Run what is not in the rows yet; (a) first of all, since the others need its plan."""
    told = {"kind": "cost", "settings": " ".join(bench.settings), "workers": bench.workers}

    def phases() -> list[Row]:
        planned: list[Row] = rows.find(**told, contestant=TUNER)[0]["phases"]
        return planned

    contestants: dict[str, Callable[[], Row]] = {
        TUNER: lambda: run_tuner(bench),
        UNSHARED: lambda: run_tuner(bench, "--no-sharing"),
        OPTUNA: lambda: run_rival(bench, "optuna_trainer.py", phases()),
    }
    if importlib.util.find_spec("ray") is not None:
        contestants[RAY] = lambda: run_rival(bench, "ray_tune.py", phases())
    contestants[AVERAGED] = lambda: run_averaged(bench)
    names = list(contestants)
    for repetition in range(repetitions):
        for place in range(len(names)):
            name = names[(repetition + place) % len(names)]
            what = {**told, "contestant": name, "repetition": repetition}
            if rows.find(**what):
                continue
            try:
                rows.add({**what, **contestants[name]()})
            except RuntimeError as error:
                if name != RAY:
                    raise
                # Its own servers have seconds to start, which a busy machine may not give them.
                print(error, file=sys.stderr)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("overrides", nargs="*", metavar="KEY=VALUE")
    parser.add_argument("--repetitions", type=int, default=3)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--rows", type=Path)
    asked = parser.parse_args()
    given = dict(setting.split("=", 1) for setting in (*REDUCED, *asked.overrides))
    settings = tuple(f"{key}={value}" for key, value in given.items())
    bench = Bench(loaded=load_study(STUDY, settings), settings=settings, workers=asked.workers)
    rows = Rows(asked.rows)
    try:
        measure(bench, asked.repetitions, rows)
    except KeyboardInterrupt:
        print("interrupted; this is what there is", file=sys.stderr)
    told = {"kind": "cost", "settings": " ".join(settings), "workers": asked.workers}
    found = {name: rows.find(**told, contestant=name) for name in (TUNER, UNSHARED, OPTUNA, RAY, AVERAGED)}
    found = {name: each for name, each in found.items() if each}
    if TUNER not in found:
        return
    require_equal([*found[TUNER], *found.get(UNSHARED, ())])
    print_steps(found)
    print_clock(found, asked.workers)
    print_accounts(found, asked.workers)
    print_frontiers(found.get(AVERAGED, ()))


if __name__ == "__main__":
    main()
