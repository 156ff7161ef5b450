"""The questions to ask before believing the conclusion (PROTOCOL.md 7), answered as far as the records can."""

from __future__ import annotations

from statistics import fmean, median

from tuner.analysis.best_steps import noise, sign_of
from tuner.config.schema import CausalLMWorkload
from tuner.protocol.replicas import ranked_points, replicas
from tuner.records import TRAIN_SAMPLE, VALIDATION, Curve, PhaseRecord, TrialRecord
from tuner.report.isolations import derived_under, fixed_settings
from tuner.report.search_edges import edges_of
from tuner.report.section import Section, Table
from tuner.report.source import Source, values_by_point
from tuner.report.wording import first_decision, number

NUM_LEADING = 5
"""So many of the best points are looked at where the question is about the best trials."""

MIN_LATE, EARLY = 4, 0.5
"""Evaluations in the last third of a run that tell its noise; the share of a run until which it saturates early."""

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
            ("Do the best trials vary late in training?", _varies_late(source, phase)),
            ("Do the best trials saturate early?", _saturates_early(phase)),
            ("How much of the differences is seed?", _seeds(source, phase)),
            ("Was it chosen on all validation examples?", _sampled(source, phase)),
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
    # Later rounds train the best points alone: how densely the space was searched shows in round 1.
    searched = [each for each in source.rounds if each.plan.kind == "round_1" and values_by_point(each)]
    phase = searched[-1] if searched else phase
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


def _sampled(source: Source, phase: PhaseRecord) -> str:
    """Values on a fixed sample compare with each other; those of the whole set are not measured."""
    facts, most = first_decision(source.study, "facts"), phase.plan.eval.max_validation_examples
    everything = facts.numbers.get("num_validation_examples") if facts else None
    if most is None or (everything is not None and most >= everything):
        return "Yes."
    of = "" if everything is None else f" of {everything:,}"
    return (
        f"No: on {most:,}{of}, the same in every trial (evaluation.max_validation_examples). Values compare with each "
        "other; the test score is on the whole test set."
    )


def _leading(phase: PhaseRecord) -> list[TrialRecord]:
    """The best trial of each of the best points."""
    return [trials[0] for trials in ranked_points(phase)[:NUM_LEADING]]


def _varies_late(source: Source, phase: PhaseRecord) -> str:
    """The playbook's reason to look: large steps late in training hide what settings are worth."""
    metric, found = phase.plan.eval.metric, []
    for trial in _leading(phase):
        curve = source.study.curve(trial.trial, VALIDATION, metric)
        late = tuple(point for point in curve if 3 * point[0] >= 2 * trial.last_step)
        if len(late) >= MIN_LATE and trial.best_value:
            found.append(noise(late) / abs(trial.best_value))
    if not found:
        return f"Unknown: fewer than {MIN_LATE} evaluations lie in the last third of their runs."
    share, bar = median(found), source.config.round_1.min_gain
    told = f"{100 * share:.2g} % of the value from evaluation to evaluation in the last third (median of {len(found)})"
    if share > bar:
        return (
            f"Yes: {told}, more than the gains that count (round_1.min_gain, {100 * bar:.2g} %): a longer decay, a "
            "larger batch or more validation examples would calm it."
        )
    return f"No: {told}."


def _saturates_early(phase: PhaseRecord) -> str:
    """Whether most of the run brought nothing: as good as it gets within noise (first good step)."""
    shares = [trial.first_good_step / trial.last_step for trial in _leading(phase) if trial.first_good_step]
    if not shares:
        return "Unknown: no first good step is known."
    early = sum(share <= EARLY for share in shares)
    told = f"{early} of {len(shares)} were as good as they get, within noise, in the first half; the median at"
    return f"{'Yes' if 2 * early > len(shares) else 'No'}: {told} {100 * median(shares):.0f} % of the run."


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
