"""Which ideas survived? Points must survive each length to reach the next, so the best of short runs may be gone."""

from __future__ import annotations

from itertools import pairwise
from statistics import fmean

from tuner.analysis.transfer import point_key
from tuner.protocol.next_length import LATER
from tuner.protocol.replicas import ranked_points, value_of
from tuner.records import PhaseRecord, TrialRecord
from tuner.report.section import Section, Table
from tuner.report.source import Source
from tuner.report.wording import params_text

Ranked = dict[str, list[TrialRecord]]
"""The points of a round, the best first, each with its trials: the order that the next round was chosen by."""


def survivor_sections(source: Source) -> list[Section]:
    """Points by rounds, once two rounds followed round 1; before that the comparison of the pair says it all."""
    phases = [phase for phase in source.rounds if ranked_points(phase)]
    num_later = sum(phase.plan.kind == LATER for phase in phases)
    if num_later < 2:
        return []
    phases = phases[-num_later - 1 :]
    rounds = [_ranked(phase) for phase in phases]
    return [
        Section(
            title="Which ideas survived?",
            claim=_claim(phases, rounds),
            tables=(_table(phases, rounds),),
            caveat="A point was dropped for what it was worth at that length; what a longer one would make of it is "
            "not known. One that is first seen in a later round is a lower-rate twin.",
        )
    ]


def _ranked(phase: PhaseRecord) -> Ranked:
    return {point_key(trials[0].params): trials for trials in ranked_points(phase)}


def _claim(phases: list[PhaseRecord], rounds: list[Ranked]) -> str:
    steps = zip(phases[1:], pairwise(rounds), strict=True)
    told = [f"{len(before.keys() & after.keys())} of {len(before)} to {phase.name}" for phase, (before, after) in steps]
    leader = next(iter(rounds[0]))
    furthest = [phase.name for phase, points in zip(phases, rounds, strict=True) if leader in points][-1]
    came = "came as far as the last" if furthest == phases[-1].name else f"was last seen in {furthest}"
    return f"Points that went on: {', '.join(told)}; the best of {phases[0].name} {came}."


def _table(phases: list[PhaseRecord], rounds: list[Ranked]) -> Table:
    """Those that came furthest first, then by their rank there."""
    names = {point: params_text(trials[0].params) for points in rounds for point, trials in points.items()}
    furthest = {point: place for place, points in enumerate(rounds) for point in points}
    ranks = [{point: rank for rank, point in enumerate(points, 1)} for points in rounds]
    ordered = sorted(names, key=lambda point: (-furthest[point], ranks[furthest[point]][point]))
    rows = []
    for point in ordered:
        row: list[str | float | None] = [names[point]]
        for points, rank in zip(rounds, ranks, strict=True):
            row += [_mean(points.get(point)), rank.get(point)]
        rows.append(tuple(row))
    columns = [column for phase in phases for column in (phase.name, f"rank {phase.name}")]
    return Table(
        name="survivors",
        title="Mean over seeds and rank of each point, by round",
        columns=("point", *columns),
        rows=tuple(rows),
        is_folded=len(rows) > 20,
    )


def _mean(trials: list[TrialRecord] | None) -> float | None:
    return None if trials is None else fmean(value_of(trial) for trial in trials)
