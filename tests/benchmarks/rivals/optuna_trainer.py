"""What `tuner` is held against: Optuna and transformers' Trainer, as a competent user would write it.

    python tests/benchmarks/rivals/optuna_trainer.py PLAN.json RESULTS.json --processes 1

Every phase is an Optuna study in SQLite, and as many processes as asked take its runs; the processes live as long as
the script. They take them from a pool: on SQLite Optuna's own queue gave one enqueued trial to two processes here. Each
run is a GPT-2 from its config and one Trainer: WSD schedule, fused AdamW, evaluation by steps, the best model kept and
loaded at the end.

In its favour: it decides nothing (the plan says which runs), looks up a run that it trained before, knows where each
rate of the sweep will end, evaluates either the training sample (sweep) or validation (rounds) and not both, writes no
optimizer states, and draws no TensorBoard curves.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import shutil
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import torch
from transformers import GPT2Config, GPT2LMHeadModel, Trainer, TrainingArguments, set_seed

Json = dict[str, Any]


class Blocks(torch.utils.data.Dataset):  # type: ignore[type-arg]
    """Blocks of tokens; the model shifts the labels itself."""

    def __init__(self, tokens: np.ndarray) -> None:
        self.tokens = torch.from_numpy(tokens)

    def __len__(self) -> int:
        return len(self.tokens)

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        return {"input_ids": self.tokens[index], "labels": self.tokens[index]}


def arguments_of(plan: Json, run: Json, folder: Path) -> TrainingArguments:
    decays = {"num_decay_steps": run["decay_steps"], "decay_type": "linear"}
    kept = {
        "save_strategy": "best",
        "save_total_limit": 1,
        "save_only_model": True,
        "load_best_model_at_end": True,
        "metric_for_best_model": "eval_loss",
        "greater_is_better": False,
    }
    return TrainingArguments(
        output_dir=str(folder),
        seed=run["seed"],
        max_steps=run["max_train_steps"],
        per_device_train_batch_size=plan["batch_size"],
        per_device_eval_batch_size=plan["eval_batch_size"],
        learning_rate=run["learning_rate"],
        weight_decay=run["weight_decay"],
        max_grad_norm=plan["max_grad_norm"],
        optim="adamw_torch_fused",
        lr_scheduler_type="warmup_stable_decay" if run["decay_steps"] else "constant_with_warmup",
        lr_scheduler_kwargs=decays if run["decay_steps"] else None,
        warmup_steps=run["warmup_steps"],
        eval_strategy="steps",
        eval_steps=run["eval_every_steps"],
        logging_steps=run["eval_every_steps"],
        report_to="none",
        disable_tqdm=True,
        use_cpu=True,
        **(kept if run["decay_steps"] else {"save_strategy": "no"}),
    )


def train_run(plan: Json, run: Json) -> Json:
    """Train one run; the updates that it took, and its best evaluation."""
    set_seed(run["seed"])
    dropouts = dict.fromkeys(("embd_pdrop", "attn_pdrop", "resid_pdrop"), run["dropout"])
    model = GPT2LMHeadModel(GPT2Config(**plan["model"], **dropouts))
    data = np.load(plan["data"])
    folder = Path(tempfile.mkdtemp())
    try:
        trainer = Trainer(
            model=model,
            args=arguments_of(plan, run, folder),
            train_dataset=Blocks(data["train"]),
            eval_dataset=Blocks(data["validation" if run["decay_steps"] else "train_sample"]),
        )
        trainer.train()
    finally:
        shutil.rmtree(folder)
    losses = [entry["eval_loss"] for entry in trainer.state.log_history if "eval_loss" in entry]
    return {"steps": trainer.state.global_step, "value": min(losses)}


def work(job: tuple[str, Json]) -> Json:
    """One run of the plan."""
    plan_path, run = job
    torch.set_num_threads(1)
    return train_run(json.loads(Path(plan_path).read_text()), run)


def record(study: optuna.Study, run: Json, done: Json) -> None:
    """Keep what a run came to as a trial."""
    ranges: dict[str, optuna.distributions.BaseDistribution] = {
        "learning_rate": optuna.distributions.FloatDistribution(1e-6, 1.0, log=True),
        "dropout": optuna.distributions.FloatDistribution(0.0, 0.5),
    }
    point = {name: run[name] for name in ranges}
    study.add_trial(
        optuna.trial.create_trial(
            params=point, distributions=ranges, value=float(done["value"]), user_attrs={"run": run}
        )
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("plan", type=Path)
    parser.add_argument("results", type=Path)
    parser.add_argument("--processes", type=int, default=1)
    asked = parser.parse_args()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    plan = json.loads(asked.plan.read_text())
    storage = f"sqlite:///{asked.results.with_suffix('.db')}"
    results: list[Json] = []
    with multiprocessing.get_context("spawn").Pool(asked.processes) as pool:
        for phase in plan["phases"]:
            study = optuna.create_study(study_name=phase["name"], storage=storage, direction="minimize")
            jobs = [(str(asked.plan), run) for run in phase["runs"]]
            for run, done in zip(phase["runs"], pool.imap(work, jobs, chunksize=1), strict=True):
                record(study, run, done)
                results.append(done)
    asked.results.write_text(json.dumps(results))


if __name__ == "__main__":
    main()
