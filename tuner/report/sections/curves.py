"""The curves of all trials, phase by phase: nobody should have to trust a best value unseen."""

from __future__ import annotations

from collections import Counter

from tuner.analysis.best_steps import best
from tuner.analysis.verdict import rank_by_best_mean
from tuner.protocol.words import trials as counted
from tuner.records import VALIDATION, PhaseRecord, TrialRecord
from tuner.report.distribution import feasible_curves
from tuner.report.figures.curves import CurveLine, CurvesPicture, Role, draw_curves
from tuner.report.section import Drawing, Section
from tuner.report.source import Source

NUM_NAMED = 6


def curve_sections(source: Source) -> list[Section]:
    """One section with a figure per phase."""
    pictures = [(phase, _picture(source, phase)) for phase in source.study.phases]
    drawn = [(phase, picture) for phase, picture in pictures if picture.lines]
    if not drawn:
        return []
    trials = [trial for trial in source.study.trials() if trial.num_evals]
    kinds = Counter(trial.outcome.kind if trial.outcome else "not finished" for trial in trials)
    counts = ", ".join(f"{count} {kind}" for kind, count in kinds.items())
    return [
        Section(
            title="Curves of all trials",
            claim=f"Curves of {counted(len(trials))}: {counts}.",
            drawings=tuple(
                Drawing(
                    name=f"curves-{phase.name}",
                    figure=draw_curves(picture),
                    alt=f"Validation curves of all trials of {phase.name}",
                )
                for phase, picture in drawn
            ),
            caveat="Dots mark best steps. Values beyond the axis are cut off, so that the first updates and diverged "
            "trials do not flatten the rest; every value is in the database table tuner_evals.",
        )
    ]


def _picture(source: Source, phase: PhaseRecord) -> CurvesPicture:
    ranked = rank_by_best_mean(feasible_curves(source.study, phase), phase.plan.eval.direction)
    named = set(ranked[:NUM_NAMED])
    lines = tuple(
        line
        for trial in phase.trials
        if (line := _line(source, phase, trial, is_named=trial.trial in named)).curve or line.role == "infeasible"
    )
    decays = {
        trial.spec.max_train_steps - trial.spec.schedule.decay_steps
        for trial in phase.trials
        if trial.spec.schedule.decay_steps
    }
    return CurvesPicture(
        title=f"{phase.name}: {counted(len(lines))}",
        metric=phase.plan.eval.metric,
        direction=phase.plan.eval.direction,
        max_train_steps=_end_of(phase, lines),
        lines=lines,
        decay_starts=tuple(sorted(decays)) if len(decays) <= 3 else (),
    )


def _line(source: Source, phase: PhaseRecord, trial: TrialRecord, *, is_named: bool) -> CurveLine:
    curve = source.study.curve(trial.trial, VALIDATION, phase.plan.eval.metric)
    top = best(curve, phase.plan.eval.direction)
    label = f"{trial.trial}: {top[1]:.4g}" if top else str(trial.trial)
    role = "leading" if is_named else _role(trial)
    return CurveLine(
        label=label, curve=curve, role=role, best=top, last_step=curve[-1][0] if curve else trial.last_step
    )


def _role(trial: TrialRecord) -> Role:
    if trial.outcome is None:
        return "unfinished"
    roles: dict[str, Role] = {
        "infeasible": "infeasible",
        "stopped": "stopped",
        "crashed": "unfinished",
        "complete": "feasible",
    }
    return roles[trial.outcome.kind]


def _end_of(phase: PhaseRecord, lines: tuple[CurveLine, ...]) -> int:
    """The budget; for a sweep, which most often ends before its last rung, the longest curve."""
    longest = max((line.last_step for line in lines), default=1)
    return longest if phase.plan.kind == "budget_sweep" else phase.plan.max_train_steps
