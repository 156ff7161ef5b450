"""The model card of an exported checkpoint: what it is, how good, how it came about, and what that was conditioned on.

The one rule: every line is a stored number or setting. Text from studies stands in code spans, where no Markdown works.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from tuner.analysis.averages import averaged_split
from tuner.config.schema import CausalLMWorkload, StudyConfig
from tuner.records import (
    TEST,
    TRAIN_SAMPLE,
    VALIDATION,
    AveragedBest,
    Evaluation,
    RunSpec,
    ScheduleSpec,
    StudyRecord,
    TrialRecord,
)
from tuner.report.best_weights import best_weights_text
from tuner.report.plain import plain
from tuner.report.so_far import answer_so_far
from tuner.report.wording import Lengths, number, outcome_text, params_text, value_text

SPLIT_WORDS = {VALIDATION: "validation", TEST: "test", TRAIN_SAMPLE: "fixed sample of the training set"}

CONDITIONS = ("workload", "training")
"""Sections whose change re-opens the budget (architecture, data, batch size, optimizer, schedule, precision)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Exported:
    """A trial's best checkpoint with all that its card tells.

    `averaged` says which averaged weights, if not its own. `evaluations` are the trial's; `weights_digest` is of the
    exported weights, `loading` the Python that reads them.
    """

    study: StudyRecord
    config: StudyConfig
    trial: TrialRecord
    averaged: AveragedBest | None
    evaluations: tuple[Evaluation, ...]
    sharing: str
    weights_digest: str
    loading: str
    commands: tuple[str, ...]


def model_card(exported: Exported) -> str:
    """Markdown with the front matter that model hubs read."""
    parts = [
        _front_matter(exported.config),
        f"# Best checkpoint of study {code(exported.study.name)}",
        _opening(exported),
        "## Load it",
        "From inside this folder" + _where_code_lies(exported.config) + ":",
        f"```python\n{exported.loading}```",
        *_using(exported.config),
        "## How good",
        _table(("split", "metric", "value"), _metrics(exported)),
        _choice(exported),
        "## How it was trained",
        _table(("setting", "value"), [(code(name), code(value)) for name, value in _run_settings(exported.trial.spec)]),
        "## What this was conditioned on",
        "The number of steps was derived under these settings; a change of one of them re-opens the question.",
        _table(("setting", "value"), [(code(name), code(value)) for name, value in _conditions(exported)]),
        "## Where it comes from",
        "\n".join(f"- {line}" for line in _provenance(exported)),
    ]
    return "\n\n".join(parts) + "\n"


def code(value: object) -> str:
    """A value as an inline code span of a table: no backtick, bar or line break can end it, nothing in it is obeyed."""
    text = plain(re.sub(r"[\s`|]+", " ", str(value)).strip())
    return f"`{text or '(empty)'}`"


def _front_matter(config: StudyConfig) -> str:
    if isinstance(config.workload, CausalLMWorkload):
        return "---\nlibrary_name: transformers\npipeline_tag: text-generation\n---"
    return "---\nlibrary_name: pytorch\n---"


def _opening(exported: Exported) -> str:
    trial, found = exported.trial, answer_so_far(exported.study)
    lengths, averaged = Lengths.of(exported.study), exported.averaged
    what, step = ("The weights", trial.best_step or 0)
    if averaged is not None:
        what, step = f"The weights averaged over about {averaged.horizon:,} updates, as they were", averaged.step
    lines = [
        f"{what} after {lengths.text(step)}, the best step of trial {trial.trial} "
        f"({code(trial.phase)}, {code(outcome_text(trial))}), trained for {lengths.text(trial.spec.max_train_steps)}."
    ]
    if found is None:
        lines.append("The study has no answer yet.")
    elif found.best_trial != trial.trial:
        lines.append(f"This is not the study's choice, which is trial {found.best_trial}.")
    elif exported.study.answer is None:
        lines.append("The study is unfinished: this is the best so far, not its answer.")
    else:
        lines.append("This is the study's answer.")
    if found is not None and found.best_trial == trial.trial and (told := best_weights_text(exported.study, found)):
        lines.append(f"{told[0].upper()}{told[1:]}.")
    if found is not None:
        lines.append(f"Verdict on the step budget of round 1: **{found.verdict}**.")
    if exported.config.description:
        lines.append(f"Purpose of the study: {code(exported.config.description)}.")
    return " ".join(lines)


def _where_code_lies(config: StudyConfig) -> str:
    if isinstance(config.workload, CausalLMWorkload):
        return ""
    module = config.workload.class_.partition(":")[0]
    return f", with the study's module {code(module)} importable (it is not part of this folder)"


def _using(config: StudyConfig) -> list[str]:
    if not isinstance(config.workload, CausalLMWorkload):
        return []
    return [
        "The tokenizer gives the ids of training. Each document of training ended with `tokenizer.eos_token_id`, which "
        "the tokenizer does not append, and which the token's name inside a text does not produce.",
        "Loss and perplexity are per token of this tokenizer: values under different tokenizers do not compare.",
        f"It was trained on blocks of {config.workload.block_size:,} tokens.",
    ]


def _metrics(exported: Exported) -> list[tuple[str, str, str]]:
    rows = []
    for split, words in SPLIT_WORDS.items():
        values = _values(exported, split)
        rows += [(words, code(metric), number(value)) for metric, value in sorted(values.items())]
        if not values:
            rows.append((words, "–", "not measured"))
    return rows


def _values(exported: Exported, split: str) -> dict[str, float]:
    """The metrics of the exported weights on a split: of averaged ones validation, and the objective's test score."""
    averaged, step = exported.averaged, exported.trial.best_step
    if averaged is not None:
        if split == TEST and averaged.test_value is not None:
            return {exported.study.phase_of(exported.trial).plan.eval.metric: averaged.test_value}
        split, step = (averaged_split(averaged.horizon), averaged.step) if split == VALIDATION else ("", step)
    return {row.metric: row.value for row in exported.evaluations if (row.split, row.global_step) == (split, step)}


def _choice(exported: Exported) -> str:
    plan = exported.study.phase_of(exported.trial).plan.eval
    better = "lowest" if plan.direction == "minimize" else "highest"
    sample = "" if plan.max_validation_examples is None else f" on {plan.max_validation_examples:,} fixed examples"
    return (
        f"The step and the trial were chosen by the {better} validation {code(plan.metric)}{sample}, so that value "
        "flatters; the test set took no part in any choice."
    )


def _run_settings(spec: RunSpec) -> list[tuple[str, str]]:
    optimizer, schedule = spec.optimizer, spec.schedule
    own = ("beta1", "beta2", "epsilon") if optimizer.name == "adamw" else ("momentum",)
    rows: list[tuple[str, Any]] = [
        ("max_train_steps", spec.max_train_steps),
        ("global_batch_size", spec.global_batch_size),
        ("learning_rate", spec.learning_rate),
        ("schedule", schedule.kind),
        ("warmup_steps", schedule.warmup_steps),
        *_decay(schedule),
        ("optimizer", optimizer.name),
        *((name, getattr(optimizer, name)) for name in own),
        ("weight_decay", optimizer.weight_decay),
        ("max_grad_norm", spec.max_grad_norm),
        ("precision", spec.precision),
        ("seed", spec.seed),
        *sorted(spec.workload_options.items()),
    ]
    return [(name, value_text(value)) for name, value in rows]


def _decay(schedule: ScheduleSpec) -> list[tuple[str, Any]]:
    """Schedules without a plateau say by their kind how they decay."""
    if schedule.kind in ("linear", "cosine"):
        return []
    return [("decay_steps", f"{schedule.decay_steps} ({schedule.decay_shape})" if schedule.decay_steps else 0)]


def _conditions(exported: Exported) -> Iterable[tuple[str, str]]:
    """Every setting of the conditioning sections that the study did not search, defaults included."""
    data = exported.config.model_dump(mode="json", by_alias=True)
    searched = exported.trial.params
    for section in CONDITIONS:
        for path, value in _leaves(data[section], section):
            if path.rpartition(".")[2] not in searched:
                yield path, str(value)


def _leaves(data: Any, path: str) -> Iterable[tuple[str, Any]]:
    if not isinstance(data, Mapping):
        yield path, data
        return
    for name, value in data.items():
        yield from _leaves(value, f"{path}.{name}")


def _provenance(exported: Exported) -> list[str]:
    return [
        f"searched point: {code(params_text(exported.trial.params))}",
        f"sharing: {exported.sharing} (whether the same recipe gives the same bits)",
        *(f"command: {code(command)}" for command in exported.commands),
        f"digest of the weights: {code(exported.weights_digest)}",
    ]


def _table(columns: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    lines = [columns, ("---",) * len(columns), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
