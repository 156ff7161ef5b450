"""The trainable of `optuna_trainer.py` under Ray Tune.

    python tests/benchmarks/rivals/ray_tune.py PLAN.json RESULTS.json --processes 1

Every phase is a grid of the plan's runs, one core each. Actors are reused, so that torch is imported once for each.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path
from typing import Any

import ray
import torch
from optuna_trainer import train_run
from ray import tune

Json = dict[str, Any]


def trainable(config: Json) -> Json:
    torch.set_num_threads(1)
    return train_run(config["plan"], config["run"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("plan", type=Path)
    parser.add_argument("results", type=Path)
    parser.add_argument("--processes", type=int, default=1)
    asked = parser.parse_args()
    plan = json.loads(asked.plan.read_text())
    phases = plan.pop("phases")
    folder = str(Path(__file__).parent)
    ray.init(
        num_cpus=asked.processes,
        include_dashboard=False,
        log_to_driver=False,
        logging_level="error",
        runtime_env={"env_vars": {"PYTHONPATH": folder}},
    )
    results: list[Json] = []
    with tempfile.TemporaryDirectory() as storage:
        for phase in phases:
            tuned = tune.Tuner(
                tune.with_resources(trainable, {"cpu": 1}),
                param_space={"plan": plan, "run": tune.grid_search(phase["runs"])},
                tune_config=tune.TuneConfig(metric="value", mode="min", reuse_actors=True),
                run_config=tune.RunConfig(name=phase["name"], storage_path=storage, verbose=0),
            ).fit()
            if tuned.num_errors:
                raise RuntimeError(str(tuned.errors[0]))
            results += [{"steps": each.metrics["steps"], "value": each.metrics["value"]} for each in tuned]
    ray.shutdown()
    asked.results.write_text(json.dumps(results))


if __name__ == "__main__":
    main()
