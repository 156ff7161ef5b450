"""The answer as settings of transformers' Trainer (names and meanings of transformers 5), in absolute steps.

The one rule: a setting stands there because the trial that won was trained with it; what a Trainer does differently,
or cannot be told by its arguments, is a note beside the settings and never a silent approximation.
"""

from __future__ import annotations

from typing import Any

from tuner.records import Direction, OptimizerSpec, RunSpec
from tuner.report.wording import value_text

Settings = dict[str, Any]


def training_arguments(
    spec: RunSpec, *, micro_batch_size: int, metric: str, direction: Direction, output_dir: str
) -> Settings:
    """Keyword arguments of `transformers.TrainingArguments` for a run on one device.

    Args:
        spec: the run to repeat.
        micro_batch_size: examples per forward pass; divides the run's global batch.
        metric: what the study's best checkpoint is chosen by, and in which `direction` it gets better.
        output_dir: where the Trainer may write.
    """
    return {
        "output_dir": output_dir,
        "seed": spec.seed,
        "max_steps": spec.max_train_steps,
        "per_device_train_batch_size": micro_batch_size,
        "gradient_accumulation_steps": spec.global_batch_size // micro_batch_size,
        "learning_rate": spec.learning_rate,
        **_schedule(spec),
        **_optimizer(spec.optimizer),
        "max_grad_norm": 0.0 if spec.max_grad_norm is None else spec.max_grad_norm,
        "bf16": spec.precision == "bf16",
        "fp16": spec.precision == "fp16",
        "eval_strategy": "steps",
        "eval_steps": spec.eval_every_steps,
        "save_strategy": "steps",
        "save_steps": spec.eval_every_steps,
        "save_total_limit": 3,
        "load_best_model_at_end": True,
        # exp(loss) is least where the loss is, and a Trainer measures no perplexity of its own.
        "metric_for_best_model": "loss" if metric == "perplexity" else metric,
        "greater_is_better": direction == "maximize",
    }


def notes(spec: RunSpec, *, metric: str) -> list[str]:
    """What the settings cannot say and where a Trainer departs from the run, one sentence each."""
    told = []
    warmup = spec.schedule.warmup_steps
    if warmup:
        told.append(
            f"a Trainer's warmup lags one update behind: update s (from 0) runs at s/{warmup} of the rate, where the "
            f"study ran at (s+1)/{warmup}, so its first update changes nothing; from update {warmup} on the rates agree"
        )
    if spec.workload_options:
        model = ", ".join(f"{name}={value_text(value)}" for name, value in sorted(spec.workload_options.items()))
        told.append(f"the model or the data were built with {model}; no training argument says that, set it there")
    if metric not in ("loss", "perplexity"):
        told.append(f"the Trainer must measure {metric} itself: compute_metrics returns a dict with the key {metric!r}")
    told.append(
        "batch sizes are for one device: on n devices divide gradient_accumulation_steps by n, so that an update still "
        f"takes {spec.global_batch_size} examples"
    )
    told.append(
        "a Trainer draws initial weights, order of data and dropout otherwise: expect the metric, not its digits"
    )
    return told


def snippet(settings: Settings, *, comments: list[str]) -> str:
    """Python that builds the arguments, under its comments."""
    lines = [*(f"# {comment}" for comment in comments), "from transformers import TrainingArguments", ""]
    lines += ["args = TrainingArguments(", *(f"    {name}={value!r}," for name, value in settings.items()), ")"]
    return "\n".join(lines)


def _schedule(spec: RunSpec) -> Settings:
    schedule = spec.schedule
    if schedule.kind == "linear" or schedule.kind == "cosine":
        return {"lr_scheduler_type": schedule.kind, "warmup_steps": schedule.warmup_steps}
    if not schedule.decay_steps:
        return {"lr_scheduler_type": "constant_with_warmup", "warmup_steps": schedule.warmup_steps}
    return {
        "lr_scheduler_type": "warmup_stable_decay",
        "warmup_steps": schedule.warmup_steps,
        "lr_scheduler_kwargs": {"num_decay_steps": schedule.decay_steps, "decay_type": schedule.decay_shape},
    }


def _optimizer(optimizer: OptimizerSpec) -> Settings:
    if optimizer.name == "sgd":
        return {
            "optim": "sgd",
            # This optimizer takes its own from `optim_args` and the decay from its parameter groups.
            "optim_args": f"momentum={optimizer.momentum!r}",
            "weight_decay": optimizer.weight_decay,
        }
    return {
        "optim": "adamw_torch_fused",
        "weight_decay": optimizer.weight_decay,
        "adam_beta1": optimizer.beta1,
        "adam_beta2": optimizer.beta2,
        "adam_epsilon": optimizer.epsilon,
    }
