"""The report's order: the answer, what it rests on in the order it happened, then the records."""

from __future__ import annotations

from tuner.report.section import Section
from tuner.report.sections.answer import answer_section
from tuner.report.sections.axes import axis_sections
from tuner.report.sections.best_steps import best_step_sections
from tuner.report.sections.caveats import caveats_section
from tuner.report.sections.curves import curve_sections
from tuner.report.sections.frontier import frontier_sections
from tuner.report.sections.instability import instability_sections
from tuner.report.sections.isolation import isolation_sections
from tuner.report.sections.records import bill_section, decisions_section, trials_section
from tuner.report.sections.rounds import round_sections
from tuner.report.sections.survivors import survivor_sections
from tuner.report.sections.sweep import sweep_sections
from tuner.report.source import Source


def all_sections(source: Source) -> tuple[Section, ...]:
    """Every section that the study has material for, in reading order."""
    return (
        answer_section(source),
        caveats_section(source),
        *sweep_sections(source),
        *best_step_sections(source),
        *isolation_sections(source),
        *survivor_sections(source),
        *round_sections(source),
        *frontier_sections(source),
        *instability_sections(source),
        *axis_sections(source),
        *curve_sections(source),
        decisions_section(source),
        trials_section(source),
        bill_section(source),
    )
