"""Instability: how many trials were infeasible and how, whether that is near the best rate, and what to try then."""

from __future__ import annotations

from collections import Counter
from typing import Final

from tuner.analysis.instability import NEAR_FACTOR
from tuner.protocol.instability import INSTABILITY
from tuner.protocol.instability_probe import INSTABILITY_PROBE
from tuner.protocol.replicas import leader
from tuner.protocol.rounds import feasible
from tuner.records import TRAIN_SAMPLE, UPDATES, Decision, PhaseRecord, StudyRecord, TrialRecord
from tuner.report.figures.instability import LOOKS, Fate, NormsPicture, RateOutcome, draw_outcomes, draw_probe
from tuner.report.section import Drawing, Section, Table
from tuner.report.source import Source

KINDS: Final = ("non-finite", "diverged", "collapsed")
TOLD = ("collapsed", INSTABILITY_PROBE, INSTABILITY)
CAVEAT = (
    "What is proposed is what the playbook tries first, not what was measured here. Gradient norms are those of the "
    "latest 100 updates before each evaluation. Whether a run collapsed is judged by a constant predictor's loss, or "
    "by the untrained model's where the workload cannot tell that."
)


def instability_sections(source: Source) -> list[Section]:
    """One section, if any trial was infeasible or an early probe was run."""
    bad = [trial for trial in _judged(source.study) if _is_infeasible(trial)]
    decided = [decision for decision in source.study.decisions if decision.kind in TOLD]
    if not bad and not decided:
        return []
    drawings = [*_outcomes(source, bad), *_probe(source.study)]
    return [
        Section(
            title="Instability",
            claim=_claim(source.study, bad),
            evidence=tuple(decision.reason for decision in decided),
            drawings=tuple(drawings),
            tables=(_table(source.study),),
            caveat=CAVEAT,
            tone="open" if proposals(source.study) else "plain",
        )
    ]


def proposals(study: StudyRecord) -> list[Decision]:
    """What was proposed against instability, by phase."""
    return [decision for decision in study.decisions if decision.kind == INSTABILITY]


def _judged(study: StudyRecord) -> list[TrialRecord]:
    return [trial for trial in study.trials() if trial.outcome is not None]


def _is_infeasible(trial: TrialRecord) -> bool:
    return trial.outcome is not None and trial.outcome.kind == "infeasible"


def _claim(study: StudyRecord, bad: list[TrialRecord]) -> str:
    """The share of infeasible trials by kind, and whether it matters."""
    total = len(_judged(study))
    kinds = Counter(trial.outcome.reason for trial in bad if trial.outcome is not None)
    told = ", ".join(f"{count} {kind}" for kind, count in sorted(kinds.items()))
    share = f"{len(bad)} of {total} trials were infeasible{f' ({told})' if told else ''}"
    proposed = proposals(study)
    probe = next((phase for phase in study.phases if phase.plan.kind == INSTABILITY_PROBE), None)
    probed = f" The early probe at twice the best rate: {probe.verdict}." if probe is not None and probe.verdict else ""
    if not proposed:
        return f"{share}: none next to the best rate, and not many.{probed}" if bad else f"{share}.{probed}"
    numbers = proposed[-1].numbers
    settings = ", ".join(numbers.get("settings") or [])
    where = "next to the best rate" if numbers.get("is_next_to_best") else "often"
    tries = f" What to try, in a study of another name: {settings}." if settings else ""
    return f"{share}; in {proposed[-1].phase} {where}.{tries}{probed}"


def _table(study: StudyRecord) -> Table:
    rows = []
    for phase in study.phases:
        ended = [trial for trial in phase.trials if trial.outcome is not None]
        kinds = Counter(trial.outcome.reason for trial in ended if trial.outcome is not None and _is_infeasible(trial))
        count = sum(kinds.values())
        share = count / len(ended) if ended else None
        rows.append((phase.name, len(ended), count, share, *(kinds.get(kind, 0) for kind in KINDS)))
    columns = ("phase", "ended trials", "infeasible", "share", *KINDS)
    return Table(name="instability", title="Infeasible trials by kind", columns=columns, rows=tuple(rows))


def _outcomes(source: Source, bad: list[TrialRecord]) -> list[Drawing]:
    if not bad:
        return []
    points = tuple(
        RateOutcome(rate=trial.spec.learning_rate, phase=trial.phase, fate=_fate(trial))
        for trial in _judged(source.study)
    )
    best = {phase.name: rate for phase in source.study.phases if (rate := _best_rate(source.study, phase)) is not None}
    figure = draw_outcomes(points, best, _norms(source, best))
    alt = f"How each learning rate ended, by phase: {len(bad)} of {len(points)} infeasible"
    return [Drawing(name="instability", figure=figure, alt=alt)]


def _fate(trial: TrialRecord) -> Fate:
    assert trial.outcome is not None
    if trial.outcome.kind == "complete":
        return "feasible"
    if _is_infeasible(trial):
        return next((fate for fate in LOOKS if fate == trial.outcome.reason), "non-finite")
    return "stopped, or crashed"


def _best_rate(study: StudyRecord, phase: PhaseRecord) -> float | None:
    """The best rate of a round; of a sweep as it was decided."""
    if phase.plan.is_sweep:
        decided = (
            d.numbers.get("learning_rate") for d in study.decisions if (d.kind, d.phase) == ("budget", phase.name)
        )
        return next(decided, None)
    is_round = phase.plan.kind in ("round_1", "round_2") and feasible(phase)
    return leader(phase).spec.learning_rate if is_round else None


def _norms(source: Source, best: dict[str, float]) -> NormsPicture | None:
    """Norms of the trials near the best rate, in the last round that has proposals, or the last round 1."""
    proposed = proposals(source.study)
    named = proposed[-1].phase if proposed else None
    rounds = [phase for phase in source.study.phases if phase.plan.kind == "round_1"]
    phase = next((phase for phase in source.study.phases if phase.name == named), rounds[-1] if rounds else None)
    if phase is None or phase.name not in best:
        return None
    rate = best[phase.name]
    near = [
        trial
        for trial in phase.trials
        if trial.outcome is not None
        and not _is_infeasible(trial)
        and rate / NEAR_FACTOR <= trial.spec.learning_rate <= rate * NEAR_FACTOR
    ]
    curves = tuple(c for t in near if (c := source.study.curve(t.trial, UPDATES, "grad_norm_p90")))
    clip = proposed[-1].numbers.get("max_grad_norm") if proposed else None
    return NormsPicture(curves=curves, now=source.config.training.max_grad_norm, proposed=clip) if curves else None


def _probe(study: StudyRecord) -> list[Drawing]:
    phase = next((phase for phase in study.phases if phase.plan.kind == INSTABILITY_PROBE), None)
    runs = () if phase is None else tuple(trial for trial in phase.trials if trial.num_evals)
    if not runs:
        return []
    curves = tuple(
        (
            f"warmup of {trial.spec.schedule.warmup_steps:,}",
            study.curve(trial.trial, TRAIN_SAMPLE, "loss"),
            study.curve(trial.trial, UPDATES, "grad_norm"),
            _is_infeasible(trial),
        )
        for trial in runs
    )
    alt = f"Training loss and gradient norm at every step of the early probe, {len(runs)} runs"
    return [Drawing(name="instability-probe", figure=draw_probe(curves), alt=alt)]
