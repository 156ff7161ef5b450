"""`tuner status`: where a study stands, from stored rows alone."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tuner.cli.options import DEFAULT_HOME, HomeOption, JsonOption, StorageOption

if TYPE_CHECKING:
    from tuner.records import PhaseRecord, StudyRecord
    from tuner.storage.store import Store


def status_command(
    name: Annotated[
        str | None, typer.Argument(metavar="NAME", help="Name of the study; all studies if left out.")
    ] = None,
    home: HomeOption = DEFAULT_HOME,
    storage: StorageOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show where a study stands, or list all studies.

    A study is "running" only while its planner is alive; one that was killed shows as "interrupted" and goes on with
    `tuner resume`. A trial whose worker was killed is "waiting" for the next one.

    \b
    tuner status
    tuner status quickstart --json
    """
    from tuner.cli.reading import opened_store

    with opened_store(home, storage) as store:
        if name is None:
            _list_studies(store, as_json=as_json)
        else:
            _show_study(store, name, as_json=as_json)


def _list_studies(store: Store, *, as_json: bool) -> None:
    from tuner.cli.console import show, table
    from tuner.cli.reading import live_state
    from tuner.report.payloads import as_text

    rows = [store.study(name) for name in store.study_names()]
    states = {row.name: live_state(row.state, is_running=store.is_running(row.name)) for row in rows}
    if as_json:
        listed = [{"study": row.name, "state": states[row.name], "created_at": str(row.created_at)} for row in rows]
        print(as_text(listed))
        return
    if not rows:
        print("no studies yet; start one with: tuner run STUDY.yaml")
        return
    columns = ("study", "state", "max_train_steps", "verdict", "best value", "started")
    cells = []
    for row in rows:
        found = row.answer
        shown = (
            (f"{found.max_train_steps:,}", found.verdict, f"{found.metric} {found.best_value:.5g}")
            if found
            else (None,) * 3
        )
        cells.append((row.name, states[row.name], *shown, row.created_at))
    show(table(columns, cells, right=("max_train_steps",), fold=("verdict",)))


def _show_study(store: Store, name: str, *, as_json: bool) -> None:
    from tuner.cli.reading import load_study_record
    from tuner.report.payloads import as_text, status_payload

    study, bill = load_study_record(store, name), store.bill(name)
    payload = status_payload(study, bill)
    if as_json:
        print(as_text(payload))
        return
    _print_head(study)
    _print_phases(study)
    _print_bill(payload)


def _print_head(study: StudyRecord) -> None:
    from tuner.cli.answer import answer_lines
    from tuner.cli.plain import plain

    reason = f": {study.reason}" if study.reason else ""
    if study.state == "no_answer":
        print(plain(f"{study.name} ended without an answer{reason}"))
        # The first line would say again that it ended.
        lines = answer_lines(study)[1:]
    else:
        print(plain(f"{study.name} is {study.state}{reason}"))
        lines = answer_lines(study)
    for line in lines:
        print(plain(line))


def _print_phases(study: StudyRecord) -> None:
    from tuner.cli.console import show, table

    if study.phases:
        columns = ("phase", "max_train_steps", "trials", "ended", "outcomes", "verdict")
        rows = [_phase_row(phase) for phase in study.phases]
        show(table(columns, rows, right=("max_train_steps", "trials", "ended"), fold=("outcomes", "verdict")))


def _phase_row(phase: PhaseRecord) -> tuple[Any, ...]:
    outcomes = Counter(trial.outcome.kind if trial.outcome else trial.state for trial in phase.trials)
    counts = ", ".join(f"{count} {kind}" for kind, count in sorted(outcomes.items()))
    num_ended = sum(trial.is_ended for trial in phase.trials)
    verdict = phase.verdict or (None if phase.is_closed else "open")
    return phase.name, f"{phase.plan.max_train_steps:,}", len(phase.trials), num_ended, counts, verdict


def _print_bill(payload: dict[str, Any]) -> None:
    from tuner.report.overheads import shares_line, warnings

    steps = ", ".join(f"{account.replace('_', ' ')} {count:,}" for account, count in payload["steps"].items())
    seconds = ", ".join(f"{account} {value:,.1f}" for account, value in payload["seconds"].items())
    print(f"steps: {steps}")
    print(f"worker seconds: {seconds}")
    shares = shares_line(payload["seconds"])
    if shares is not None:
        print(f"overheads: {shares}")
    for warning in warnings(payload["seconds"]):
        print(f"warning: {warning}")
