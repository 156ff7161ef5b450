"""The options that several commands share, spelled once."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

DEFAULT_HOME = Path("runs")

HomeOption = Annotated[
    Path,
    typer.Option("--home", envvar="TUNER_HOME", help="Folder of the database, checkpoints and TensorBoard logs."),
]
StorageOption = Annotated[
    str | None,
    typer.Option("--storage", envvar="TUNER_STORAGE", help="Database URL; default: SQLite in the home folder."),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON on stdout.")]
StudyName = Annotated[
    str, typer.Argument(metavar="NAME", help="Name of the study, as in its YAML.", show_default=False)
]
