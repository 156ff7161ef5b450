"""A study YAML and overrides in, a checked `StudyConfig` out.

The one door: whatever passes it has been read, validated and judged by every rule; nothing else checks settings.
"""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tuner.config import rules
from tuner.config.overrides import apply_overrides
from tuner.config.problems import Origins, raise_problems
from tuner.config.reading import Document, ReadingError, can_be_kept, read_text, read_yaml
from tuner.config.schema import StudyConfig
from tuner.config.validation import validate
from tuner.errors import ConfigError


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadedStudy:
    """A study as its file and the command line give it.

    `folder` is where relative paths and user modules of the study are looked for; `text` is the file as it is.
    """

    config: StudyConfig
    folder: Path
    text: str
    warnings: tuple[str, ...] = ()


def load_study(path: Path, overrides: Sequence[str] = ()) -> LoadedStudy:
    """Read, override (`training.learning_rate=1e-3`), validate and judge a study.

    Raises:
        ConfigError: one line per problem, `file:line: setting: value, rule, remedy`.
    """
    source = str(path)
    text, document = _read(path)
    origins = Origins(source=source, lines=document.lines)
    raise_problems(document.problems, origins)
    data = document.data
    if isinstance(data, dict):
        data, overridden = apply_overrides(data, overrides)
        origins = Origins(source=source, lines=document.lines, overridden=overridden)
    config = validate(data, origins)
    raise_problems(rules.problems(config), origins)
    return LoadedStudy(config=config, folder=_folder(path), text=text, warnings=tuple(rules.warnings(config)))


def _folder(path: Path) -> Path:
    """Where the study lies; kept with it, as text."""
    folder = path.resolve().parent
    if not can_be_kept(str(folder)):
        raise ConfigError(f"{path}: the name of its folder {str(folder)!a} is not UTF-8; rename that folder")
    return folder


def _read(path: Path) -> tuple[str, Document]:
    try:
        text = read_text(path)
        return text, read_yaml(text)
    except ReadingError as found:
        where = f"{path}:{found.line}" if found.line is not None else f"{path}"
        raise ConfigError(f"{where}: {found.message}{_similar_file(path)}") from None


def _similar_file(path: Path) -> str:
    if path.exists() or not path.parent.is_dir():
        return ""
    names = [other.name for other in path.parent.iterdir() if other.suffix in (".yaml", ".yml")]
    close = difflib.get_close_matches(path.name, names, n=1)
    return f"; did you mean {path.parent / close[0]}?" if close else ""
