"""`tuner init`: a study YAML that runs as it stands, every line explained."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from tuner.config.first_study import FirstStudy

STUDY_NAME = typer.Argument(metavar="NAME", help="Name of the study; NAME.yaml is written here.", show_default=False)


def init_command(
    name: Annotated[str, STUDY_NAME],
    data: Annotated[
        str | None,
        typer.Option("--data", help="A text file or a glob; default: Python's own manual.", show_default=False),
    ] = None,
    text: Annotated[
        str | None, typer.Option("--text", help="Column of --data that holds the text.", show_default=False)
    ] = None,
    model: Annotated[str, typer.Option("--model", help="Architecture of the language model.")] = "gpt2",
    hours: Annotated[
        float | None, typer.Option("--hours", help="Hours that the study may cost.", show_default=False)
    ] = None,
    gpu: Annotated[
        str | None, typer.Option("--gpu", help="Memory of your GPU, e.g. 6GB; default: the CPU.", show_default=False)
    ] = None,
) -> None:
    """Write a study YAML that runs as it stands, every line explained.

    A study of the default text on a CPU takes minutes. An existing file is never overwritten.

    \b
    tuner init first
    tuner init plays --data 'plays/*.txt' --hours 4
    tuner init plays --data book.txt --gpu 6GB --hours 12
    """
    from tuner.cli.console import warn
    from tuner.cli.first_choices import FirstChoices, first_study
    from tuner.cli.plain import plain
    from tuner.config.first_study import first_study_yaml
    from tuner.errors import ConfigError

    path = _new_file(name)
    if data == "":
        raise ConfigError("--data= is empty; name a text file or a glob, or leave --data out for Python's own manual")
    if text is None and data is not None and data.lower().endswith((".csv", ".jsonl")):
        warn(f"{data} is read as plain text, with all its columns; --text COLUMN takes one of them, a document per row")
    asked = FirstChoices(name=name, data=data, text_column=text, architecture=model, hours=hours, gpu=gpu)
    study = first_study(asked, folder=Path.cwd())
    _write(path, first_study_yaml(study))
    print(plain(f"{path}: {_summary(study)}; next: tuner run {path}"))


def _new_file(name: str) -> Path:
    from tuner.errors import ConfigError

    if name.endswith((".yaml", ".yml")):
        raise ConfigError(f"NAME={name} names the study, not its file; use {name.rpartition('.')[0] or 'first'}")
    if not name.isprintable() or name != name.strip() or name.startswith(("-", ".")) or "/" in name or not name:
        raise ConfigError(f"NAME={name!r} cannot name a study; use printable text without '/', leading '-' or '.'")
    path = Path(f"{name}.yaml")
    if path.exists() or path.is_symlink():
        raise ConfigError(f"{path} exists, and nothing is overwritten; choose another name or remove the file")
    return path


def _write(path: Path, text: str) -> None:
    from tuner.errors import HomeError

    try:
        with path.open("x", encoding="utf-8") as file:
            try:
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
            except OSError:
                path.unlink()  # No half of a study, say because the disk is full.
                raise
    except (PermissionError, FileExistsError) as error:
        raise HomeError(f"{path} cannot be written here ({error.strerror}); change to another folder") from None


def _summary(study: FirstStudy) -> str:
    size = study.size
    return f"a {study.architecture} of about {size.num_parameters:,} parameters on {study.text}"
