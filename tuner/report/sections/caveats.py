"""The questions to ask before believing the conclusion (PROTOCOL.md 7), answered as far as the records can."""

from __future__ import annotations

from statistics import fmean

from tuner.analysis.best_steps import noise, sign_of
from tuner.config.schema import CausalLMWorkload
from tuner.protocol.replicas import replicas
from tuner.records import TRAIN_SAMPLE, VALIDATION, Curve, PhaseRecord, TrialRecord
from tuner.report.isolations import derived_under, fixed_settings
from tuner.report.search_edges import edges_of
from tuner.report.section import Section, Table
from tuner.report.source import Source, values_by_point
from tuner.report.wording import number

WINDOW = 5
"""Evaluations in the means that tell whether a curve still moves at its end."""


def caveats_section(source: Source) -> Section:
    """Questions and answers; those that need more measurements say what would answer them."""
    best = source.best_trial()
    rows = [("How many trials were infeasible?", _infeasible(source))]
    if best is not None:
        phase = source.study.phase_of(best)
        curve = source.study.curve(best.trial, VALIDATION, phase.plan.eval.metric)
        rows = [
            ("Is the best point at an edge of the search?", _edges(source, best)),
            ("Are there enough points in the good region?", _good_region(source, phase, best)),
            *rows,
            ("Was the best trial still improving at its end?", _end(curve, phase)),
            ("Does the best trial overfit?", _overfit(source, phase, best)),
            ("How much of the differences is seed?", _seeds(source, phase)),
            ("What was fixed, so that all of this is conditional on it?", _fixed(source)),
        ]
    if isinstance(source.config.workload, CausalLMWorkload) and source.config.workload.tokenizer == "bpe":
        rows.append(("Do its values compare with other studies?", _tokens(source.config.workload)))
    return Section(
        title="Before you believe it",
        claim="What the records say to the questions that a conclusion should survive."
        if best is not None
        else "Too little was measured to question a conclusion.",
        tables=(
            Table(name="questions", title="Questions", columns=("question", "what was measured"), rows=tuple(rows)),
        ),
    )


def _tokens(workload: CausalLMWorkload) -> str:
    return (
        f"Only under the same tokenizer: loss and perplexity are per token of its own {workload.vocab_size:,}, and "
        "larger tokens are harder to guess."
    )


def _fixed(source: Source) -> str:
    under = derived_under(source.study)
    told = f"{', '.join(fixed_settings(source.config))}, the model and the data."
    return f"{told} The budget was derived under {under}." if under else told


def _edges(source: Source, best: TrialRecord) -> str:
    edges = edges_of(source.space, best.params)
    if not edges:
        return "No: it lies inside the range on every axis."
    return "Yes: " + ", ".join(f"{name} is at its {edge} edge; widen it" for name, edge in edges.items()) + "."


def _infeasible(source: Source) -> str:
    told = []
    for phase in source.study.phases:
        ended = [trial for trial in phase.trials if trial.outcome is not None]
        bad = [trial.outcome.reason for trial in ended if trial.outcome and trial.outcome.kind == "infeasible"]
        told.append(
            f"{phase.name} {len(bad)} of {len(phase.trials)}"
            + (f" ({', '.join(sorted(set(bad)))})" if any(bad) else "")
        )
    return "; ".join(told) + "." if told else "No trial has ended yet."


def _good_region(source: Source, phase: PhaseRecord, best: TrialRecord) -> str:
    metric, sign = phase.plan.eval.metric, sign_of(phase.plan.eval.direction)
    deviation = source.seed_deviation()
    margin = 2 * (deviation if deviation else noise(source.study.curve(best.trial, VALIDATION, metric)))
    means = [fmean(values) for values in values_by_point(phase).values()]
    top = min(sign * value for value in means)
    near = sum(sign * value <= top + margin for value in means)
    unit = "seed deviations" if deviation else "noise deviations of its curve (seeds are unknown)"
    return f"{near} of {len(means)} points of {phase.name} lie within two {unit} of the best ({number(margin)})."


def _end(curve: Curve, phase: PhaseRecord) -> str:
    if len(curve) < 2 * WINDOW:
        return f"Unknown: {len(curve)} evaluations are too few."
    sign, values = sign_of(phase.plan.eval.direction), [value for _, value in curve]
    gain = sign * (fmean(values[-2 * WINDOW : -WINDOW]) - fmean(values[-WINDOW:]))
    limit = 2 * noise(curve) * (2 / WINDOW) ** 0.5
    last = f"the last {WINDOW} evaluations against the {WINDOW} before: {gain:+.2g}, noise allows {limit:.2g}"
    if gain > limit:
        return f"Yes ({last}); a decaying rate always improves the end, so only a longer run can tell what it is worth."
    return f"It got worse ({last})." if gain < -limit else f"No ({last})."


def _overfit(source: Source, phase: PhaseRecord, best: TrialRecord) -> str:
    metric, sign = phase.plan.eval.metric, sign_of(phase.plan.eval.direction)
    curve = source.study.curve(best.trial, VALIDATION, metric)
    if not curve or best.best_value is None or best.best_step is None:
        return "Unknown: no curve."
    loss = sign * (curve[-1][1] - best.best_value)
    if loss <= 2 * noise(curve):
        last, top = number(curve[-1][1]), number(best.best_value)
        return f"Not visibly: its last value is within noise of its best ({last} against {top})."
    train = dict(source.study.curve(best.trial, TRAIN_SAMPLE, metric))
    fell = train and best.best_step in train and sign * (train[best.best_step] - train[max(train)]) > 0
    why = (
        "while it still improved on the training sample: try regularisation"
        if fell
        else "and on the training sample too"
    )
    return f"It ended {number(loss)} worse than at step {best.best_step:,}, {why}."


def _seeds(source: Source, phase: PhaseRecord) -> str:
    deviation = source.seed_deviation()
    if deviation is None:
        return "Unknown: nothing was replicated; give round_2 more than one seed."
    sign = sign_of(phase.plan.eval.direction)
    means = sorted(sign * fmean(values) for values in values_by_point(phase).values())
    replicated = sum(len(trials) > 1 for round_ in source.rounds for trials in replicas(round_).values())
    known = f"One seed deviates by {number(deviation)} (pooled over {replicated} points)"
    if len(means) < 2:
        return f"{known}."
    gap = means[1] - means[0]
    ratio = f"{gap / deviation:.1f} seed deviations" if deviation else "no seed deviation at all"
    return f"{known}; the best point of {phase.name} is {number(gap)} ahead of the second: {ratio}."
