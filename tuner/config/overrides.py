"""`key=value` from the command line, written into the study's plain data before it is validated.

A value is read as YAML. A key is a dotted path, list items by index; a section that the file leaves out starts from
its defaults, so that one of its settings can be changed alone.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

from tuner.config.problems import COMMAND_LINE, KeyPath, Origins, Problem, dotted, raise_problems
from tuner.config.reading import ReadingError, can_be_kept, read_yaml
from tuner.config.settings import mapping_node, node_at, value_at
from tuner.config.wording import shown, unknown
from tuner.errors import ConfigError


def apply_overrides(data: dict[str, Any], overrides: Sequence[str]) -> tuple[dict[str, Any], tuple[KeyPath, ...]]:
    """A copy of `data` with the overrides written in, and the paths that they set.

    Raises:
        ConfigError: one line per override that cannot be read or placed.
    """
    data = copy.deepcopy(data)
    paths: list[KeyPath] = []
    problems: list[Problem] = []
    for override in overrides:
        try:
            key, value = _parse(override)
            path = _place(data, key, value)
            if path in paths:
                raise _PlacingError(path, "given twice; keep one of them")
            paths.append(path)
        except _PlacingError as unusable:
            problems.append(Problem(path=unusable.path, message=unusable.message))
    raise_problems(problems, Origins(source=COMMAND_LINE))
    return data, tuple(paths)


def parse_override(text: str) -> tuple[str, Any]:
    """The key and the value of one `key=value`, read as YAML.

    Raises:
        ConfigError: if it cannot be read.
    """
    try:
        return _parse(text)
    except _PlacingError as unusable:
        raise ConfigError(": ".join(part for part in (dotted(unusable.path), unusable.message) if part)) from None


class _PlacingError(Exception):
    def __init__(self, path: KeyPath, message: str) -> None:
        super().__init__(message)
        self.path = path
        self.message = message


def _parse(override: str) -> tuple[str, Any]:
    key, equals, text = override.partition("=")
    key = key.strip()
    if not equals or not all(key.split(".")) or not can_be_kept(key):
        raise _PlacingError((), f"{shown(override)} is not key=value; write for example training.learning_rate=1e-3")
    path: KeyPath = tuple(key.split("."))
    if not text.strip():
        raise _PlacingError(path, f"no value after '='; give one, or {dotted(path)}=null")
    try:
        document = read_yaml(text)
    except ReadingError as found:
        raise _PlacingError(path, f"{shown(text)}: {found.message}") from None
    if document.problems:
        raise _PlacingError(path, document.problems[0].message)
    return key, document.data


def _place(data: dict[str, Any], key: str, value: Any) -> KeyPath:
    """Write the value at its place; the path with list items as numbers."""
    here: Any = data
    path: KeyPath = ()
    *sections, last = key.split(".")
    for name in sections:
        path = (*path, _step(here, name, path))
        if isinstance(here, dict) and here.get(name) is None:
            here[name] = _defaults(path, data)
        here = here[path[-1]]
    path = (*path, _step(here, last, path))
    here[path[-1]] = value
    return path


def _step(here: Any, name: str, path: KeyPath) -> str | int:
    """The key or index that `name` means in a mapping or a list."""
    if isinstance(here, dict):
        return name
    if not isinstance(here, list):
        raise _PlacingError(
            (*path, name), f"{dotted(path)} is {shown(here)}, with no settings below; override it as a whole"
        )
    if not name.isdecimal() or int(name) >= len(here):
        raise _PlacingError(
            (*path, name), f"{dotted(path)} is a list of {len(here)}; name an item by its index, 0 for the first"
        )
    return int(name)


def _defaults(path: KeyPath, data: dict[str, Any]) -> dict[str, Any]:
    """What a section that the file leaves out starts from."""
    node = node_at(path, data)
    if node is None:
        raise _PlacingError(path, unknown(path, data))
    if mapping_node(node, value_at(path, data)) is None:
        raise _PlacingError(path, "has no settings below; override it as a whole")
    default = node.get("default")
    return copy.deepcopy(default) if isinstance(default, dict) else {}
