"""What would other budgets have reached? The metric against the step budget, from cooldowns of one trunk."""

from __future__ import annotations

from tuner.protocol.frontier import FRONTIER, frontier_of, values_by_rate
from tuner.protocol.proxy_frontier import REFUSED, proxies_of, told_calibrated
from tuner.records import PhaseRecord, Value
from tuner.report.figures.frontier import Proxies, draw_frontier
from tuner.report.frontiers import FrontierRow, frontier_rows, standing_proxies
from tuner.report.section import Drawing, Section, Table
from tuner.report.source import Source
from tuner.report.wording import number

COLUMNS = ("max_train_steps", "best value", "gain per 1,000 steps", "learning rate", "seeds", "hours of one run", "is")
PROXY_COLUMNS = ("max_train_steps", "proxy of the best value", "+-", "real cooldown", *COLUMNS[2:])


def frontier_sections(source: Source) -> list[Section]:
    """One section for each frontier that measured anything."""
    found = (_section(source, phase) for phase in source.study.phases if phase.plan.kind == FRONTIER)
    return [section for section in found if section is not None]


def _section(source: Source, phase: PhaseRecord) -> Section | None:
    found = frontier_of(source.study, phase)
    if found is None:
        return None
    metric = phase.plan.eval.metric
    claim = phase.reason if phase.is_closed and phase.reason else f"{phase.name} is still being measured."
    proxies = proxies_of(source.study, phase)
    stands = standing_proxies(source.study, phase)
    drawn = None
    if stands is not None and stands.calibration is not None:
        drawn = Proxies(stands.by_rate, stands.calibration.residual)
    figure = draw_frontier(values_by_rate(phase), found, metric=metric, proxies=drawn)
    rows = frontier_rows(source.study, phase, found, seconds_per_step=_seconds_per_step(source))
    columns = COLUMNS if drawn is None else PROXY_COLUMNS
    num_left_out = sum(trial.is_ended and not trial.is_feasible for trial in phase.trials)
    deviation = "unknown, nothing was replicated" if found.deviation is None else number(found.deviation)
    evidence = [f"Seed deviation: {deviation}"]
    if proxies is not None and proxies.calibration is not None:
        evidence.append(f"Calibration, {told_calibrated(proxies)}")
    if num_left_out:
        evidence.append(f"{num_left_out} of {len(phase.trials)} trials were not feasible and are left out")
    return Section(
        title="What would other budgets have reached?" + ("" if phase.name == FRONTIER else f" ({phase.name})"),
        claim=claim,
        evidence=tuple(evidence),
        drawings=(Drawing(name=phase.name, figure=figure, alt=claim),),
        tables=(
            Table(
                name=phase.name,
                title=f"Best {metric} by budget, on the envelope of the learning rates",
                columns=columns,
                rows=tuple(_cells(row, by_proxy=drawn is not None) for row in rows),
            ),
        ),
        tone="open" if phase.verdict == REFUSED else "plain",
        caveat="All else was tuned for the answer's budget; at another one other settings may do better. A frontier of "
        "one learning rate flatters the budget that it was tuned for.",
    )


def _cells(row: FrontierRow, *, by_proxy: bool) -> tuple[Value, ...]:
    beside = (row.error, row.real) if by_proxy else ()
    return (row.budget, row.value, *beside, row.gain, row.rate, row.num_seeds, row.hours, row.mark)


def _seconds_per_step(source: Source) -> float | None:
    steps, seconds = source.bill.get("executed", 0), source.bill.get("seconds", {})
    spent = sum(seconds.values())
    return spent / steps if steps and spent else None
