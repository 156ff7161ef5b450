"""Was each round's budget too long or too short: where the best checkpoints fell."""

from __future__ import annotations

from tuner.analysis.verdict import MIN_PERCENT
from tuner.protocol.rounds import second_metric
from tuner.report.distribution import BestSteps
from tuner.report.figures.best_steps import draw_best_steps
from tuner.report.section import Drawing, Section, Table
from tuner.report.source import Source


def best_step_sections(source: Source) -> list[Section]:
    """One section per round with feasible trials."""
    return [_section(source, found) for found in source.best_steps()]


def _section(source: Source, found: BestSteps) -> Section:
    check = found.check
    everyone, leaders = check.everyone, check.leaders
    budget = source.lengths().text(check.max_train_steps)
    verdict = found.verdict or "not judged yet"
    counts = (
        ("best step in the last 25 %", str(everyone.best_late), str(leaders.best_late)),
        ("best step in the first 10 %", str(everyone.best_early), str(leaders.best_early)),
        ("first good step in the first 10 %", str(everyone.good_early), str(leaders.good_early)),
    )
    return Section(
        title=f"Step budget of {found.phase}",
        claim=f"{budget} in {found.phase}: {verdict}. {check.num_late} of {check.num_feasible} feasible trials were "
        f"best in their last quarter, {check.num_early} in their first tenth.",
        evidence=(*((found.reason,) if found.reason else ()), *_second_metric(source, found)),
        drawings=(
            Drawing(
                name=f"best-steps-{found.phase}",
                figure=draw_best_steps(found),
                alt=f"Histogram of best steps of {found.phase}: {check.num_late} of {check.num_feasible} in the "
                f"last 25 %, {check.num_early} in the first 10 %",
            ),
        ),
        tables=(
            Table(
                name=f"best-steps-{found.phase}",
                title="Counts, with 95 % Wilson intervals of the shares",
                columns=("trials with their", "all feasible", "best group"),
                rows=counts,
            ),
        ),
        caveat=f"A verdict needs {MIN_PERCENT} % of all feasible trials and of the best group. Each best step is known "
        f"to one evaluation interval ({check.eval_every_steps:,} updates).",
        tone="open" if "undecided" in verdict or found.verdict is None else "plain",
    )


def _second_metric(source: Source, found: BestSteps) -> tuple[str, ...]:
    """Loss often bottoms before another objective does: compare the two where both were measured."""
    phase = source.study.phase(found.phase)
    compared, metric = second_metric(source.study, phase), phase.plan.eval.metric
    if compared is None:
        return ()
    warning = " They fall in different bands: the choice of metric decides this verdict." if compared.differs else ""
    return (
        f"The median trial was best at step {compared.objective_step:,} by {metric} and at step "
        f"{compared.loss_step:,} by loss.{warning}",
    )
