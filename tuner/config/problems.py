"""What is wrong with a study, and where: one line per problem, as `file:line: key: value, rule, remedy`.

Every layer of checking yields `Problem`s; only `raise_problems` turns them into the error that the user sees.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from tuner.errors import ConfigError

KeyPath = tuple[str | int, ...]
"""Keys and list indices from the root: ("search_space", "learning_rate", "low")."""

COMMAND_LINE = "command line"
MAX_SHOWN = 20
MAX_PATH = 200
"""Characters of a path that are shown: a key may be as long as a file."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """One mistake. `message` holds the value, the rule and the remedy; `line` is set if it is not the key's own.

    `cause` is another setting that makes this one wrong: if it was overridden, the command line is to blame.
    """

    path: KeyPath
    message: str
    line: int | None = None
    cause: KeyPath | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Origins:
    """Where each setting was written: a line of the file, or the command line."""

    source: str
    lines: Mapping[KeyPath, int] = field(default_factory=dict)
    overridden: tuple[KeyPath, ...] = ()

    def locate(self, problem: Problem) -> str:
        """The file and line, or `command line`, that the user has to change."""
        if problem.line is not None:
            return f"{self.source}:{problem.line}"
        if any(_is_meant(problem, path) for path in self.overridden) or self._is_new(problem.path):
            return COMMAND_LINE
        line = self._line(self._blamed(problem))
        return self.source if line is None else f"{self.source}:{line}"

    def _is_new(self, path: KeyPath) -> bool:
        """Whether only overrides below `path` made it exist."""
        return path not in self.lines and any(other[: len(path)] == path for other in self.overridden)

    def _blamed(self, problem: Problem) -> KeyPath:
        """A rule over a whole mapping opens with the setting it is about: `max_steps=5 is ...`."""
        named = problem.message.split("=", 1)[0].split(".")
        path = (*problem.path, *named)
        return path if path in self.lines else problem.path

    def _line(self, path: KeyPath) -> int | None:
        while path and path not in self.lines:
            path = path[:-1]
        return self.lines.get(path)


def _is_meant(problem: Problem, overridden: KeyPath) -> bool:
    if problem.path[: len(overridden)] == overridden or problem.cause == overridden:
        return True
    inside = overridden[: len(problem.path)] == problem.path
    return inside and f"{overridden[-1]}=" in problem.message


def raise_problems(problems: Iterable[Problem], origins: Origins) -> None:
    """Raise all problems in the order of their lines; do nothing if there are none.

    Raises:
        ConfigError: one line per problem, each once.
    """
    lines = list(dict.fromkeys(_line_of(problem, origins) for problem in problems))
    if not lines:
        return
    shown = sorted(lines, key=_line_number)[:MAX_SHOWN]
    if len(lines) > len(shown):
        shown.append(f"{origins.source}: {len(lines) - len(shown)} more problems; mend these first")
    raise ConfigError("\n".join(shown))


def _line_of(problem: Problem, origins: Origins) -> str:
    parts = [origins.locate(problem)]
    if problem.path:
        parts.append(dotted(problem.path))
    return ": ".join([*parts, problem.message])


def _line_number(line: str) -> int:
    number = line.split(": ", 1)[0].rsplit(":", 1)[-1]
    return int(number) if number.isdigit() else 0


def dotted(path: KeyPath) -> str:
    """A path as users write it: `search_space.learning_rate.low`; what would not print is escaped."""
    text = ".".join(str(part) for part in path)
    if len(text) > MAX_PATH:
        text = text[: MAX_PATH - 3] + "..."
    return text if text.isprintable() else ascii(text)[1:-1]
