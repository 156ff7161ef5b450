"""Rules over a valid config that no single setting shows: what contradicts, what cannot be, what is missing together.

A rule yields a `Problem` (the study is refused) or, in `warnings`, a sentence (the study may run). Nothing is mended.
"""

from __future__ import annotations

from collections.abc import Iterator

from tuner.config.condition_rules import RATE, entries, scientific_warnings
from tuner.config.kind_rules import MIN_EVALUATIONS, kind_problems, round_1_steps
from tuner.config.problems import Problem, dotted
from tuner.config.resolve import DEFAULT_FIT, KNOWN_DIRECTIONS, LOSSES
from tuner.config.round_rules import round_problems
from tuner.config.schedule_rules import PLATEAU, averages_problems, schedule_problems
from tuner.config.schema import CausalLMWorkload, StudyConfig
from tuner.config.search_rules import search_problems
from tuner.config.wording import shown
from tuner.config.workload_rules import workload_problems

LANGUAGE_MODEL_METRICS = LOSSES
MIN_FEASIBLE_TRIALS = 5
"""Below this the budget cannot be judged (PROTOCOL.md 4): the verdict would be `undecided`."""


def problems(config: StudyConfig) -> Iterator[Problem]:
    """Everything that makes the study impossible or contradictory."""
    yield from _name_problems(config)
    yield from _data_problems(config)
    yield from search_problems(config)
    yield from _metric_problems(config)
    yield from _averages_problems(config)
    yield from _fit_problems(config)
    yield from schedule_problems(config)
    yield from averages_problems(config)
    yield from kind_problems(config)
    yield from _plateau_problems(config)
    yield from round_problems(config)


def warnings(config: StudyConfig) -> Iterator[str]:
    """What may run but will hardly answer the question."""
    guess = config.budget.first_guess_steps
    every = config.evaluation.every_steps
    num_evals = guess // every if every != "auto" else min(guess, 25)
    if num_evals < MIN_EVALUATIONS:
        cause = f"evaluation.every_steps={every} with " if every != "auto" else ""
        remedy = (
            f"evaluate every {max(1, guess // 25)} steps" if guess >= MIN_EVALUATIONS else "raise first_guess_steps"
        )
        yield (
            f"{cause}budget.first_guess_steps={guess} gives {num_evals} evaluations per trial; under {MIN_EVALUATIONS} "
            f"the budget cannot be judged; {remedy}"
        )
    production = config.budget.production_steps
    if production is not None and every != "auto" and (tenth := round_1_steps(production)) // every < MIN_EVALUATIONS:
        yield (
            f"evaluation.every_steps={every} gives {tenth // every} evaluations in the 10 % of "
            f"budget.production_steps={production} that round 1 gets if compute-bound; under {MIN_EVALUATIONS} the "
            f"budget cannot be judged; evaluate every {max(1, tenth // 25)} steps"
        )
    if config.round_1.num_trials < MIN_FEASIBLE_TRIALS:
        yield (
            f"round_1.num_trials={config.round_1.num_trials} is under {MIN_FEASIBLE_TRIALS}: the verdict on the budget "
            f"will be undecided; give round_1 at least {MIN_FEASIBLE_TRIALS} trials"
        )
    for entry in entries(config):
        rate = entry.dimension
        if entry.name == RATE and rate.choices is None and rate.scale != "log":
            yield (
                f"{dotted(entry.path)}.scale={rate.scale} spends most points on the large rates; "
                "rates are searched with scale: log"
            )
    yield from scientific_warnings(config)
    micro, batch = config.execution.micro_batch_size, config.training.global_batch_size
    if config.execution.device == "cpu" and isinstance(micro, int) and micro < batch:
        yield (
            f"execution.micro_batch_size={micro} accumulates {batch // micro} micro-batches per update, which on a CPU "
            f"gives no throughput; leave it out unless memory is short, and choose training.global_batch_size={batch} "
            "by throughput"
        )


def _name_problems(config: StudyConfig) -> Iterator[Problem]:
    name = config.study
    if not name.isprintable() or name != name.strip() or name.startswith("-") or "/" in name:
        yield Problem(
            path=("study",),
            message=f"{shown(name)} cannot name a study; use printable text without '/', leading '-' or outer spaces",
        )


def _data_problems(config: StudyConfig) -> Iterator[Problem]:
    workload = config.workload
    if not isinstance(workload, CausalLMWorkload):
        return
    yield from workload_problems(workload)
    split = workload.split
    if split.validation + split.test >= 1:
        yield Problem(
            path=("workload", "split"),
            message=f"validation={split.validation:g} plus test={split.test:g} leaves nothing to train on; "
            "keep their sum below 1",
        )
    if not workload.text:
        yield Problem(path=("workload", "text"), message=f"{shown(workload.text)} is empty; name at least one file")


def _metric_problems(config: StudyConfig) -> Iterator[Problem]:
    metric, given = config.evaluation.metric, config.evaluation.direction
    known = KNOWN_DIRECTIONS.get(metric)
    if isinstance(config.workload, CausalLMWorkload) and metric not in LANGUAGE_MODEL_METRICS:
        message = f"{shown(metric)} is not measured by a causal_lm workload; use loss or perplexity"
        yield Problem(path=("evaluation", "metric"), message=message)
    elif known is None and given is None:
        message = f"missing; {shown(metric)} may rise or fall as it gets better: add minimize or maximize"
        yield Problem(path=("evaluation", "direction"), message=message, cause=("evaluation", "metric"))
    elif known is not None and given is not None and given != known:
        message = f"{given} contradicts evaluation.metric {metric}, whose direction is {known}; remove the line"
        yield Problem(path=("evaluation", "direction"), message=message, cause=("evaluation", "metric"))


def _averages_problems(config: StudyConfig) -> Iterator[Problem]:
    horizons = config.evaluation.averaged_horizons
    rising = sorted(set(horizons))
    if list(horizons) != rising:
        message = f"{list(horizons)} must rise, each horizon once; write {rising}"
        yield Problem(path=("evaluation", "averaged_horizons"), message=message)


def _fit_problems(config: StudyConfig) -> Iterator[Problem]:
    path = ("budget", "perfect_fit")
    fit = config.budget.perfect_fit
    is_language_model = isinstance(config.workload, CausalLMWorkload)
    is_loss = config.evaluation.metric in LOSSES
    if fit is None:
        # Without a threshold the sweep of a loss ends where it saturates; other metrics have no such rule.
        if config.workload_kind == "not_compute_bound" or (config.workload_kind == "auto" and not is_loss):
            yield from _missing_fit(config)
        return
    if is_language_model and fit.metric not in LANGUAGE_MODEL_METRICS:
        message = f"{shown(fit.metric)} is not measured by a causal_lm workload; use loss or perplexity"
        yield Problem(path=(*path, "metric"), message=message)
        return
    direction = KNOWN_DIRECTIONS.get(fit.metric)
    if fit.metric == config.evaluation.metric:
        direction = direction or config.evaluation.direction
    if direction == "maximize":
        remedy = f"use metric: {DEFAULT_FIT.metric}, at_most: {DEFAULT_FIT.at_most:g}"
        message = f"{fit.metric} gets better as it rises, so at_most cannot mean a perfect fit; {remedy}"
        yield Problem(path=(*path, "metric"), message=message)
    floors = {
        "loss": ("above 0", fit.at_most > 0),
        "perplexity": ("above 1", fit.at_most > 1),
        "error": ("of at least 0", fit.at_most >= 0),
    }
    rule, is_reachable = floors.get(fit.metric, ("", True))
    if not is_reachable:
        message = f"{fit.at_most:g} can never be reached by {fit.metric}; use a value {rule}"
        yield Problem(path=(*path, "at_most"), message=message)


def _missing_fit(config: StudyConfig) -> Iterator[Problem]:
    metric = config.evaluation.metric
    if metric in ("error", "accuracy"):
        return
    what = "a language model" if isinstance(config.workload, CausalLMWorkload) else f"a study of {metric}"
    message = f"missing; {what} states its own: perfect_fit: {{metric: loss, at_most: ...}}"
    message = f"{message}, a value that the clean training sample is to reach"
    if metric in LOSSES:
        message = f"{message}; or use workload_kind: auto, which needs none"
    yield Problem(path=("budget", "perfect_fit"), message=message, cause=("evaluation", "metric"))


def _plateau_problems(config: StudyConfig) -> Iterator[Problem]:
    """The plateau is what longer runs share; a first budget without one could never be extended."""
    guess, training = config.budget.first_guess_steps, config.training
    if training.schedule != PLATEAU:
        return
    warmup = min(100, round(0.05 * guess)) if training.warmup_steps == "auto" else training.warmup_steps
    decay = max(1, round(training.decay_share * guess))
    if warmup + decay < guess:
        return
    path = (
        ("training", "decay_share")
        if warmup < guess and training.warmup_steps == "auto"
        else ("training", "warmup_steps")
    )
    given = "warmup_steps=auto" if training.warmup_steps == "auto" else f"warmup_steps={warmup}"
    yield Problem(
        path=path,
        message=f"{given} ({warmup} updates) plus decay_share={training.decay_share:g} ({decay} updates) leaves no "
        f"plateau in budget.first_guess_steps={guess}; shorten one, or raise first_guess_steps",
    )
