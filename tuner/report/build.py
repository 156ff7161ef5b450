"""From a stored study to the files of its report. The page, the figures and the tables show the same numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tuner import __version__
from tuner.config.schema import StudyConfig
from tuner.records import StudyRecord
from tuner.report.answer_caveats import answer_caveats
from tuner.report.canvas import png
from tuner.report.files import as_csv, check_folder, file_name, write_atomically
from tuner.report.isolations import claims
from tuner.report.page import render_page
from tuner.report.payloads import answer_payload, as_text, status_payload
from tuner.report.sections.all_sections import all_sections
from tuner.report.source import Source
from tuner.report.wording import reasons


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportFiles:
    """What was written, absolute or relative as `out` was."""

    page: Path
    answer: Path
    figures: tuple[Path, ...]
    tables: tuple[Path, ...]


def build_report(
    record: StudyRecord,
    config: StudyConfig,
    *,
    bill: Mapping[str, Any],
    out: Path,
    command: str = "",
    decision_times: Sequence[str] = (),
) -> ReportFiles:
    """Write `report.html`, `answer.json`, `figures/*.png` and `tables/*.csv` under `out`; also for unfinished studies.

    `record` holds all curves; its state is shown as given. `decision_times`, if any, one for each decision.

    Raises:
        HomeError: if `out` cannot be written to.
    """
    check_folder(out)
    source = Source(study=record, config=config, bill=dict(bill), command=command, decision_times=tuple(decision_times))
    sections = all_sections(source)
    drawings = [drawing for section in sections for drawing in section.drawings]
    pictures = {drawing.name: png(drawing.figure) for drawing in drawings}
    figures = [write_atomically(out / "figures" / f"{file_name(name)}.png", data) for name, data in pictures.items()]
    shown = [table for section in sections for table in section.tables]
    tables = [write_atomically(out / "tables" / f"{file_name(table.name)}.csv", as_csv(table)) for table in shown]
    page = render_page(record.name, sections, pictures=pictures, status=_status(source), footer=_footer(record))
    answer = as_text(_answer(source)) + "\n"
    return ReportFiles(
        answer=write_atomically(out / "answer.json", answer.encode("utf-8")),
        figures=tuple(figures),
        tables=tuple(tables),
        # The page comes last: where it stands, all that it belongs to stands too.
        page=write_atomically(out / "report.html", page.encode("utf-8")),
    )


def _answer(source: Source) -> dict[str, Any]:
    study = source.study
    status = status_payload(study, source.bill)
    return answer_payload(
        study,
        source.so_far(),
        why=reasons(study),
        caveats=answer_caveats(source.config, study),
        isolation=claims(source.config, study),
    ) | {
        "phases": status["phases"],
        "steps": status["steps"],
        "seconds": status["seconds"],
    }


def _status(source: Source) -> str:
    study = source.study
    words = {
        "finished": "Finished.",
        "running": "Still running: this page shows what is known now.",
        "interrupted": "Interrupted: this page shows what is known now.",
        "no_answer": "Ended without an answer.",
    }
    described = f" {source.config.description}" if source.config.description else ""
    return (
        f"{words[study.state]} {_count(len(study.phases), 'phase')}, {_count(len(study.trials()), 'trial')}.{described}"
    )


def _count(count: int, what: str) -> str:
    return f"{count} {what}" if count == 1 else f"{count} {what}s"


def _footer(record: StudyRecord) -> str:
    when = datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")
    return (
        f"Study {record.name}, written by tuner {__version__} on {when}. The protocol follows the Deep Learning "
        "Tuning Playbook (Godbole, Dahl, Gilmer, Shallue, Nado; 2023)."
    )
