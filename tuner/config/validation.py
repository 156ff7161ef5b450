"""Plain data -> `StudyConfig`, or the list of its problems in our own words.

Pydantic finds where something is wrong; the words come from the schema's node and the value found there.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from tuner.config import wording
from tuner.config.problems import KeyPath, Origins, Problem, raise_problems
from tuner.config.schema import StudyConfig
from tuner.config.settings import Node, child, node_at, root, value_at


def validate(data: Any, origins: Origins) -> StudyConfig:
    """The frozen config of plain data.

    Raises:
        ConfigError: one line per problem.
    """
    if not isinstance(data, dict):
        found = "is empty" if data is None else f"holds {wording.shown(data)}, not a mapping of settings"
        raise_problems([Problem(path=(), message=f"{found}; start with `study: NAME` and `workload:`")], origins)
    problems = [
        Problem(path=path, message=wording.fault(value_at(path, data), node))
        for path, node in _wrong_kinds(root(), data, ())
    ]
    try:
        config = StudyConfig.model_validate(data)
    except ValidationError as error:
        problems += _translate(error.errors(include_url=False), data)
        raise_problems(problems, origins)
        raise AssertionError("every validation error is a problem") from error
    raise_problems(problems, origins)
    return normalise(config)


def normalise(config: StudyConfig) -> StudyConfig:
    """The same config with defaults validated too: a default of 2 for a float setting becomes 2.0, as if written."""
    return StudyConfig.model_validate(config.model_dump(mode="python", by_alias=True))


def _wrong_kinds(node: Node, data: Any, path: KeyPath) -> Iterator[tuple[KeyPath, Node]]:
    """Text given for numbers and true given for 1: pydantic would convert them, we do not guess (D8)."""
    if isinstance(data, dict | list):
        items = data.items() if isinstance(data, dict) else enumerate(data)
        for key, value in items:
            below = child(node, key, data)
            if below is not None:
                yield from _wrong_kinds(below, value, (*path, key))
    elif not wording.accepts_kind(data, node):
        yield path, node


def _translate(errors: list[ErrorDetails], data: Any) -> Iterator[Problem]:
    """One problem per error, without the branches of a union that an item inside has already explained."""
    located = [(_path(error["loc"], data, error["type"] == "missing"), error) for error in errors]
    paths = [path for path, _ in located]
    for path, error in located:
        is_outer = any(other != path and other[: len(path)] == path for other in paths)
        if not is_outer or error["type"] == "value_error":
            yield _problem(path, error, data)


def _problem(path: KeyPath, error: ErrorDetails, data: Any) -> Problem:
    if error["type"] == "extra_forbidden":
        return Problem(path=path, message=wording.unknown(path, data))
    if error["type"] == "value_error":
        return Problem(path=path, message=str(error["ctx"]["error"]))
    if error["type"].startswith("union_tag") and isinstance(value_at(path, data), dict):
        return _kind_problem((*path, "kind"), error, data)
    node = node_at(path, data)
    if error["type"] == "missing":
        return Problem(path=path, message=wording.missing(node))
    return Problem(path=path, message=wording.fault(value_at(path, data), node or {}))


def _kind_problem(path: KeyPath, error: ErrorDetails, data: Any) -> Problem:
    """The kind of workload decides which settings there are; without it nothing below can be judged."""
    parent = node_at(path[:-1], data) or {}
    node = {"type": "string", "enum": list(parent["discriminator"]["mapping"]), "description": "kind of workload"}
    if error["type"] == "union_tag_not_found":
        return Problem(path=path, message=wording.missing(node))
    return Problem(path=path, message=wording.fault(value_at(path, data), node))


def _path(location: tuple[int | str, ...], data: Any, is_missing: bool) -> KeyPath:
    """Pydantic's location without the names of union branches: only keys that are in the data, or missing there."""
    path: KeyPath = ()
    is_tagged = location[:1] == ("workload",)
    for depth, part in enumerate(location):
        here = value_at(path, data)
        is_key = isinstance(here, dict) and (part in here or (is_missing and depth == len(location) - 1))
        is_item = isinstance(here, list) and isinstance(part, int) and part < len(here)
        if (is_key or is_item) and not (is_tagged and depth == 1):
            path = (*path, part)
    return path
