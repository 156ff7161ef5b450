"""What the program itself costs, with nothing to train: growth; on demand trials a second and large studies.

    python tests/benchmarks/orchestration.py [--part empty|large|growth ...] [--trials N] [--evaluations N]

`empty`: trials that train nothing, evaluated as often and each value reported, beside Optuna alone on SQLite,
interleaved. `large`: a study of 1,000 trials x 1,000 evaluations written straight into the store; wall clock and peak
memory of `tuner status`, `resume` and `report`; aims: 1 s, 5 s, 15 s. `growth`: the planner's time for each trial that
ends, among 100, 1,000 and 10,000; aim: 30 ms.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE.parent / "faults"), str(HERE.parent / "storage")]

PARTS = ("empty", "large", "growth")
AIMS = {"status": 1.0, "resume": 5.0, "report": 15.0}


# ---------------------------------------------------------------- empty


def empty(num_trials: int, num_evals: int, *, times: int) -> None:
    """Trials a second, ours beside Optuna's."""
    ours, theirs = [], []
    for _ in range(times):
        theirs.append(seconds_of_optuna(num_trials, num_evals))
        ours.append(seconds_of_ours(num_trials, num_evals))
    print(f"\n{num_trials} trials that train nothing, {num_evals} evaluations each, medians of {times}\n")
    print("| | trials a second | of Optuna |\n|---|---|---|")
    base = median(theirs)
    for name, taken in (("Optuna on SQLite: ask, report, tell", theirs), ("tuner: planner, worker, mirror", ours)):
        print(f"| {name} | {num_trials / median(taken):.1f} | {base / median(taken):.2f} |")


def seconds_of_optuna(num_trials: int, num_evals: int) -> float:
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    with tempfile.TemporaryDirectory() as folder:
        study = optuna.create_study(
            storage=f"sqlite:///{folder}/optuna.db", sampler=optuna.samplers.RandomSampler(seed=0)
        )
        began = time.perf_counter()
        for _ in range(num_trials):
            trial = study.ask()
            rate = trial.suggest_float("learning_rate", 1e-4, 1e-2, log=True)
            for step in range(1, num_evals + 1):
                trial.report(rate / step, step)
            study.tell(trial, rate)
        return time.perf_counter() - began


def seconds_of_ours(num_trials: int, num_evals: int) -> float:
    """Planner, claims, runner, files and Optuna's mirror, in one process as Optuna is; the sweep is not counted."""
    from plan_faults import InProcess

    from tuner.config.schema import StudyConfig
    from tuner.storage.store import Store
    from tuner.trials.mirror import Mirror

    steps = 2 * num_evals
    config = StudyConfig.model_validate(
        {
            "study": "toy",
            "workload": {"kind": "python", "class": "numpy_trainer:Toy"},
            "training": {"optimizer": "sgd", "momentum": 0.5, "warmup_steps": 0},
            "evaluation": {"metric": "loss", "every_steps": 2},
            "workload_kind": "compute_bound",
            "budget": {"first_guess_steps": steps, "max_steps": steps, "production_steps": 10 * steps},
            "budget_sweep": {"learning_rates": {"low": 0.05, "high": 0.2, "num_rates": 3}, "max_widenings": 0},
            "search_space": {"learning_rate": {"low": 0.04, "high": 0.14, "scale": "log"}},
            "round_1": {"num_trials": num_trials, "adjust": "none", "widen_at_edge": False},
            "execution": {"checkpoint_every_steps": 10 * steps, "device": "cpu"},
        }
    )
    with tempfile.TemporaryDirectory() as folder:
        store = Store.open(None, Path(folder))
        study = InProcess(store, config)
        mirror = Mirror(store.url, config)
        study.planner._mirror = mirror
        try:
            return study.seconds_of_phase("round_1")
        finally:
            mirror.close()
            store.close()


# ---------------------------------------------------------------- large


def large(num_trials: int, num_evals: int, *, times: int) -> None:
    """Wall clock and peak memory of the commands on a study that is over."""
    from stored_study import StoredStudy, config_of

    from tuner.storage.store import Store

    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder) / "runs"
        store = Store.open(None, home)
        StoredStudy(store, config_of(num_trials, num_evals)).play()
        store.close()
        size = (home / "tuner.db").stat().st_size / 1e6
        # Fills Optuna's tables: not part of having nothing to do.
        _, filling, _ = run("resume", "large", "--home", str(home))
        print(f"\n{num_trials:,} trials x {num_evals:,} evaluations, a database of {size:.0f} MB")
        print(f"\nOptuna's tables filled in {filling:.1f} CPU seconds; load now {os.getloadavg()[0]:.1f}\n")
        print("| command | seconds (median) | fastest | CPU seconds | peak memory, MB | aim, s |")
        print("|---|---|---|---|---|---|")
        options = {"status": (), "resume": (), "report": ("--out", str(Path(folder) / "report"))}
        for command, more in options.items():
            found = [run(command, "large", "--home", str(home), *more) for _ in range(times)]
            walls, cpus, memory = zip(*found, strict=True)
            print(
                f"| tuner {command} | {median(walls):.2f} | {min(walls):.2f} | {median(cpus):.2f} | "
                f"{max(memory):.0f} | {AIMS[command]:g} |",
                flush=True,
            )


def run(*arguments: str) -> tuple[float, float, float]:
    """Seconds, CPU seconds and peak memory in MB of one command."""
    began = time.perf_counter()
    pid = os.posix_spawn(
        sys.executable,
        [sys.executable, "-m", "tuner", *arguments],
        # As installed: modules are compiled once, not at every start.
        {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"},
        file_actions=[(os.POSIX_SPAWN_OPEN, 1, os.devnull, os.O_WRONLY, 0)],
    )
    _, status, used = os.wait4(pid, 0)
    assert status == 0, f"tuner {' '.join(arguments)} failed"
    return time.perf_counter() - began, used.ru_utime + used.ru_stime, used.ru_maxrss / 1024


# ---------------------------------------------------------------- growth


def growth(sizes: tuple[int, ...], num_evals: int, *, times: int) -> None:
    """The planner's time when one more trial has ended, with all others of the phase ended before it."""
    print(f"\nthe planner's time for each trial that ends, {num_evals} evaluations a trial, medians of {times}\n")
    print("| trials | ms | CPU ms | first move of a planner that starts there, s |\n|---|---|---|---|")
    for size in sizes:
        wall, cpu, first = planning(size, num_evals, times)
        print(f"| {size:,} | {1000 * wall:.1f} | {1000 * cpu:.1f} | {first:.2f} |", flush=True)


def planning(size: int, num_evals: int, times: int) -> tuple[float, float, float]:
    from stored_study import StoredStudy, config_of

    from tuner.storage.store import Store

    with tempfile.TemporaryDirectory() as folder:
        store = Store.open(None, Path(folder))
        study = StoredStudy(store, config_of(size, num_evals))
        study.planner.advance()
        study.planner.advance()
        study.end_waiting()
        while not study.store.load("large", with_curves=False).phases[-1].name.startswith("round_1"):
            study.planner.advance()
        study.end_waiting(at_most=size - 2 - times)
        began = time.perf_counter()
        study.planner.advance()
        first = time.perf_counter() - began
        walls, cpus = [], []
        for _ in range(times):
            study.end_waiting(at_most=1)
            wall, cpu = time.perf_counter(), time.process_time()
            study.planner.advance()
            walls.append(time.perf_counter() - wall)
            cpus.append(time.process_time() - cpu)
        store.close()
        return median(walls), median(cpus), first


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--part", action="append", choices=PARTS)
    parser.add_argument("--trials", type=int, default=1000, help="of the large study")
    parser.add_argument("--evaluations", type=int, default=1000, help="of each trial of the large study")
    parser.add_argument("--empty-trials", type=int, default=60, help="that train nothing")
    parser.add_argument("--sizes", type=int, nargs="+", default=[100, 1000, 10_000], help="of the growth")
    parser.add_argument("--times", type=int, default=3)
    asked = parser.parse_args()
    print(f"load of the machine at the start: {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")
    for part in asked.part or ("growth",):
        if part == "empty":
            for num_evals in (10, 25):  # Round 1 takes no budget below 20 steps.
                empty(asked.empty_trials, num_evals, times=asked.times)
        elif part == "large":
            large(asked.trials, asked.evaluations, times=asked.times)
        else:
            growth(tuple(asked.sizes), 25, times=5)


if __name__ == "__main__":
    main()
