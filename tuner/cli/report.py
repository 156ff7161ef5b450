"""`tuner report`: the HTML page of a study with its figures, tables and `answer.json`."""

from __future__ import annotations

import gc
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from tuner.cli.options import DEFAULT_HOME, HomeOption, StorageOption, StudyName


def report_command(
    name: StudyName,
    out: Annotated[
        Path | None, typer.Option("--out", help="Folder of the report; default: reports/<study>.", show_default=False)
    ] = None,
    home: HomeOption = DEFAULT_HOME,
    storage: StorageOption = None,
) -> None:
    """Write the HTML report of a study with its figures and tables.

    Works at any time, also while the study runs. One page that opens without a network, PNG figures, CSV tables and
    answer.json.

    \b
    tuner report quickstart
    tuner report quickstart --out /tmp/quickstart
    """
    from tuner.cli.console import note
    from tuner.cli.plain import plain
    from tuner.cli.reading import load_study_record, opened_store
    from tuner.config.canonical import config_from_json

    with _no_collections():
        with opened_store(home, storage) as store:
            study, row = load_study_record(store, name, with_curves=True), store.study(name)
            bill, times = store.bill(name), store.decision_times(name)
        note(f"drawing the report of {len(study.trials())} trials ...")
        from tuner.report.build import build_report

        written = build_report(
            study,
            config_from_json(row.config),
            bill=bill,
            out=out if out is not None else default_folder(name),
            command=row.command,
            decision_times=times,
        )
    print(plain(str(written.page)))


@contextmanager
def _no_collections() -> Iterator[None]:
    """A large study is millions of tuples, none of them in a cycle: looking for cycles took a sixth of the time."""
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def default_folder(name: str) -> Path:
    """`reports/<study>`; a name that is no plain folder name gets a slug and a hash instead."""
    from tuner.storage.paths import folder_name

    # A name that ends like a slug with its hash could be another study's folder.
    plain_name = re.fullmatch(r"[a-z0-9][a-z0-9_-]{,99}", name) and not re.search(r"-[0-9a-f]{8}$", name)
    return Path("reports") / (name if plain_name else folder_name(name))
