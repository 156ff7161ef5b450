"""Does it still hold? The points that two rounds share: did their order change when training got longer?

Paired by the seeds that both rounds have. A round of the same length repeats those to the bit: there, further seeds of
the same points are held against the ones that they were chosen by.
"""

from __future__ import annotations

from itertools import pairwise
from statistics import fmean

from tuner.analysis.best_steps import sign_of
from tuner.analysis.transfer import Transfer, compare_rounds
from tuner.protocol.replicas import further_replicas, paired_replicas, replicas, value_of
from tuner.records import PhaseRecord, TrialRecord
from tuner.report.figures.rounds import SharedPoint, draw_rounds
from tuner.report.section import Drawing, Section, Table
from tuner.report.source import Source, values_by_point
from tuner.report.wording import number, params_text

BOTH = "by the seeds that both have"


def round_sections(source: Source) -> list[Section]:
    """One section per pair of successive rounds that share points."""
    return [_section(source, a, b) for a, b in pairwise(source.rounds) if _pairs(a, b)]


def _pairs(earlier: PhaseRecord, later: PhaseRecord) -> dict[str, tuple[list[TrialRecord], list[TrialRecord]]]:
    return further_replicas(earlier, later) if _is_replication(earlier, later) else paired_replicas(earlier, later)


def _is_replication(earlier: PhaseRecord, later: PhaseRecord) -> bool:
    return earlier.plan.max_train_steps == later.plan.max_train_steps


def _section(source: Source, earlier: PhaseRecord, later: PhaseRecord) -> Section:
    pairs, is_again = _pairs(earlier, later), _is_replication(earlier, later)
    before = {point: [value_of(trial) for trial in trials] for point, (trials, _) in pairs.items()}
    after = {point: [value_of(trial) for trial in trials] for point, (_, trials) in pairs.items()}
    everything = {} if is_again else replicas(later)
    deviation = source.seed_deviation()
    direction = later.plan.eval.direction
    transfer = compare_rounds(
        {point: fmean(values) for point, values in before.items()},
        {point: fmean(values) for point, values in after.items()},
        direction=direction,
        seed_deviation=deviation,
    )
    names = {point: params_text(trials[0].params) for point, (_, trials) in pairs.items()}
    ranked = sorted(transfer.points, key=lambda point: sign_of(direction) * fmean(after[point]))
    shared = tuple(
        SharedPoint(
            label=_label(pairs[point][1][0], fmean(after[point])),
            earlier=tuple(before[point]),
            later=tuple(after[point]),
            further=tuple(value_of(trial) for trial in everything.get(point, ()) if trial not in pairs[point][1]),
        )
        for point in ranked
    )
    figure = draw_rounds(
        shared,
        metric=later.plan.eval.metric,
        direction=direction,
        names=(earlier.name, later.name),
        steps=(earlier.plan.max_train_steps, later.plan.max_train_steps),
    )
    claim = _claim(earlier, later, transfer)
    return Section(
        title=f"{earlier.name} against {later.name}: does it {'replicate' if is_again else 'still hold'}?",
        claim=claim,
        evidence=_evidence(transfer, deviation, by="by further seeds" if is_again else BOTH),
        drawings=(Drawing(name=f"rounds-{earlier.name}-{later.name}", figure=figure, alt=claim),),
        tables=(
            _table(
                transfer,
                (before, after),
                names=names,
                sign=sign_of(direction),
                title=f"{earlier.name} against {later.name}, {'by further seeds' if is_again else BOTH}",
            ),
        ),
        caveat=" ".join(_caveats(earlier, num_shared=len(shared), is_again=is_again)) or None,
    )


def _claim(earlier: PhaseRecord, later: PhaseRecord, transfer: Transfer) -> str:
    count = len(transfer.points)
    budgets = f"from {earlier.plan.max_train_steps:,} to {later.plan.max_train_steps:,} updates"
    if _is_replication(earlier, later):
        budgets = f"at {later.plan.max_train_steps:,} updates with further seeds"
    if count == 1:
        return f"One point went on {budgets}: there is no order to compare."
    if not transfer.num_order_changes:
        return f"The order of the {count} shared points held {budgets}."
    changes = f"{transfer.num_order_changes} of {transfer.num_pairs} pairs"
    return f"{changes} of the {count} shared points changed order {budgets}."


def _caveats(earlier: PhaseRecord, *, num_shared: int, is_again: bool) -> list[str]:
    told = []
    if is_again:
        told.append(
            "The points were chosen by their first seed, which luck helped: further seeds are expected to be a little "
            "worse."
        )
    if len(values_by_point(earlier)) > num_shared:
        told.append("Points that did not go on are not compared: what was dropped may have caught up.")
    return told


def _evidence(transfer: Transfer, deviation: float | None, *, by: str) -> tuple[str, ...]:
    gain = fmean(transfer.gains)
    lines = [
        f"Mean gain of the shared points, {by}: {number(gain)}"
        + (f" ({gain / deviation:.1f} seed deviations)" if deviation else "")
    ]
    lines.append(
        f"Seed deviation: {number(deviation)}, pooled"
        if deviation
        else "Seed deviation: unknown, nothing was replicated"
    )
    if transfer.spearman is not None:
        lines.append(f"Spearman rank correlation: {transfer.spearman:.2f} (n = {len(transfer.points)})")
    return tuple(lines)


def _table(
    transfer: Transfer,
    rounds: tuple[dict[str, list[float]], dict[str, list[float]]],
    *,
    names: dict[str, str],
    sign: float,
    title: str,
) -> Table:
    before, after = rounds
    ranks = [{point: rank for rank, point in enumerate(_ranked(transfer, values, sign), 1)} for values in rounds]
    deviations = transfer.gains_in_deviations or (None,) * len(transfer.gains)
    rows = [
        (
            names[point],
            fmean(before[point]),
            fmean(after[point]),
            gain,
            in_deviations,
            ranks[0][point],
            ranks[1][point],
            len(after[point]),
        )
        for point, gain, in_deviations in zip(transfer.points, transfer.gains, deviations, strict=True)
    ]
    columns = ("point", "earlier", "later", "gain", "in seed deviations", "rank earlier", "rank later", "seeds")
    by_later_rank = tuple(sorted(rows, key=lambda row: row[6]))
    return Table(
        name=title.partition(",")[0].replace(" ", "-"),
        title=title,
        columns=columns,
        rows=by_later_rank,
        is_folded=len(rows) > 12,
    )


def _ranked(transfer: Transfer, values: dict[str, list[float]], sign: float) -> list[str]:
    return sorted(transfer.points, key=lambda point: sign * fmean(values[point]))


def _label(trial: TrialRecord, value: float) -> str:
    return f"{trial.trial}: {value:.4g}" if trial.params else "fixed"
