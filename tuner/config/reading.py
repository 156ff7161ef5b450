"""YAML text as plain data with the line of every key.

Only what a study needs is read: mappings with unique text keys, lists, text, numbers, true/false and null. Anything
else (tags, merge keys, endless aliases, huge or deep documents) is refused before it can cost time or memory.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, field
from pathlib import Path
from stat import S_ISREG
from typing import Any

import yaml

from tuner.config.problems import KeyPath, Problem

MAX_BYTES = 250_000
MAX_DEPTH = 20
MAX_NODES = 5_000
MAX_ALIASES = 100
LARGEST_INTEGER = 2**63 - 1
"""Whole numbers beyond it fit neither a database nor a float that they may be divided by."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Document:
    """Plain data, the line of every key and list item, and what was wrong on the way."""

    data: Any
    lines: dict[KeyPath, int]
    problems: tuple[Problem, ...]


def read_text(path: Path) -> str:
    """The text of a file of at most `MAX_BYTES`.

    Raises:
        ReadingError: if it is missing, no file, unreadable, too large or not UTF-8.
    """
    try:
        # Opening a pipe waits for whoever writes into it, for ever if nobody does.
        if not S_ISREG(path.stat().st_mode) and not path.is_dir():
            raise ReadingError("is no file but a device or a pipe; give the path of a study YAML")
        with path.open("rb") as file:
            content = file.read(MAX_BYTES + 1)
    except FileNotFoundError:
        raise ReadingError("no such file; give the path of a study YAML") from None
    except IsADirectoryError:
        raise ReadingError("is a folder; give the path of a study YAML inside it") from None
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise ReadingError(f"cannot be read ({reason}); check the path and its permissions") from None
    if len(content) > MAX_BYTES:
        raise ReadingError(f"is larger than {MAX_BYTES:,} bytes, the most a study YAML may have; is it the right file?")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ReadingError(f"is not UTF-8 text (byte {error.start}); save it as UTF-8") from None


def read_yaml(text: str) -> Document:
    """Data and lines of one YAML document; empty text is None.

    Raises:
        ReadingError: if the text is not YAML or beyond the caps; `line` says where.
    """
    try:
        root = _Composer(text).get_single_node()
    except yaml.MarkedYAMLError as error:
        raise _syntax_problem(error) from None
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        raise ReadingError(f"character #x{error.character:04x} is not allowed in YAML; remove it", line=line) from None
    except (ValueError, OverflowError):
        raise ReadingError("holds an escape that is no character; remove it") from None
    building = _Building()
    data = building.build(root, ()) if root is not None else None
    return Document(data=data, lines=building.lines, problems=tuple(building.problems))


class ReadingError(Exception):
    """Text that cannot be read at all; the caller knows the name of the file."""

    def __init__(self, message: str, *, line: int | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.line = line


class _Composer(yaml.SafeLoader):
    """Composes nodes under the caps and resolves plain scalars as YAML 1.2 does: `1e-3` is a number, `no` is text."""

    yaml_implicit_resolvers: dict[str, list[tuple[str, re.Pattern[str]]]] = {}  # noqa: RUF012

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self._depth = self._num_nodes = self._num_aliases = 0

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        mark = self.peek_event().start_mark  # type: ignore[no-untyped-call]
        self._num_nodes += 1
        self._num_aliases += self.check_event(yaml.AliasEvent)
        for count, limit, name in (
            (self._depth, MAX_DEPTH, "levels of nesting"),
            (self._num_nodes, MAX_NODES, "values"),
            (self._num_aliases, MAX_ALIASES, "aliases"),
        ):
            if count > limit:
                raise ReadingError(f"more than {limit:,} {name}; a study needs far fewer", line=mark.line + 1)
        self._depth += 1
        try:
            return super().compose_node(parent, index)
        finally:
            self._depth -= 1


_PREFIX = "tag:yaml.org,2002:"
_INTEGER = r"[-+]?[0-9][0-9_]*|0x[0-9a-fA-F]+|0o[0-7]+"
_FLOAT = r"[-+]?(?:\.[0-9]+|[0-9][0-9_]*(?:\.[0-9_]*)?)(?:[eE][-+]?[0-9]+)?|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)"
for _tag, _pattern, _first in (
    ("null", r"~|null|Null|NULL|", ["~", "n", "N", ""]),
    ("bool", r"true|True|TRUE|false|False|FALSE", list("tTfF")),
    ("int", _INTEGER, list("-+0123456789")),
    ("float", _FLOAT, list("-+.0123456789")),
):
    _Composer.add_implicit_resolver(_PREFIX + _tag, re.compile(rf"^(?:{_pattern})$"), _first)


@dataclass(slots=True)
class _Building:
    """Plain data out of nodes. Aliases are copied, so the copies are counted too."""

    lines: dict[KeyPath, int] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)
    num_built: int = 0

    def build(self, node: yaml.Node, path: KeyPath) -> Any:
        line = node.start_mark.line + 1
        self.lines.setdefault(path, line)
        self.num_built += 1
        if self.num_built > MAX_NODES or len(path) > MAX_DEPTH:
            raise ReadingError("aliases unfold to more values than a study needs; write them out", line=line)
        if isinstance(node, yaml.MappingNode) and node.tag == _PREFIX + "map":
            return self._mapping(node, path)
        if isinstance(node, yaml.SequenceNode) and node.tag == _PREFIX + "seq":
            return [self.build(item, (*path, index)) for index, item in enumerate(node.value)]
        try:
            return _scalar(node)
        except ReadingError as found:
            self.problems.append(Problem(path=path, message=found.message, line=line))
            return None

    def _mapping(self, node: yaml.MappingNode, path: KeyPath) -> dict[str, Any]:
        data: dict[str, Any] = {}
        for key_node, value_node in node.value:
            line = key_node.start_mark.line + 1
            if not isinstance(key_node, yaml.ScalarNode):
                raise ReadingError("a key must be plain text, not a list or a mapping", line=line)
            key = key_node.value
            if not can_be_kept(key):
                raise ReadingError(f"the key {_shorten(key)} holds what is no text; write it plainly", line=line)
            key_path = (*path, key)
            if key in data:
                message = f"given twice, first on line {self.lines[key_path]}; remove one of them"
                self.problems.append(Problem(path=key_path, message=message, line=line))
                continue
            if key == "<<":
                message = "merge keys are not read; write the settings out"
                self.problems.append(Problem(path=key_path, message=message, line=line))
                continue
            self.lines[key_path] = line
            data[key] = self.build(value_node, key_path)
        return data


def _scalar(node: yaml.Node) -> Any:
    text, tag = node.value, node.tag.removeprefix(_PREFIX)
    if not isinstance(node, yaml.ScalarNode) or tag not in ("null", "bool", "int", "float", "str"):
        raise ReadingError(f"the tag {node.tag.replace(_PREFIX, '!!')} is not read; write the value plainly")
    try:
        if tag == "null":
            return None
        if tag == "bool":
            return {"true": True, "false": False}[text.lower()]
        if tag == "int":
            return _whole(text)
        if tag == "float":
            return _finite(text)
        if not can_be_kept(text):
            raise ValueError
    except (ValueError, KeyError):
        kind = {"int": "a whole number", "float": "a number", "bool": "true or false"}.get(tag, "text")
        raise ReadingError(f"{_shorten(text)} cannot be read as {kind}; write it plainly") from None
    return text


def can_be_kept(text: str) -> bool:
    """Whether a database can hold the text: no halves of characters, and no NUL."""
    return "\0" not in text and not any("\ud800" <= char <= "\udfff" for char in text)


def _whole(text: str) -> int:
    value = int(text, 0) if text[:2] in ("0x", "0o") else int(text)
    if abs(value) > LARGEST_INTEGER:
        raise ReadingError(f"{_shorten(text)} is out of range; whole numbers go up to {LARGEST_INTEGER}")
    return value


def _finite(text: str) -> float:
    special = text.lower().replace(".inf", "inf").replace(".nan", "nan")
    value = float(special)
    if not math.isfinite(value):
        raise ReadingError(f"{text} is not a finite number; give a finite one (null where a setting may be off)")
    return value


def _syntax_problem(error: yaml.MarkedYAMLError) -> ReadingError:
    mark = error.problem_mark or error.context_mark
    line = mark.line + 1 if mark is not None else None
    problem = error.problem or "it cannot be parsed"
    if "\\t" in problem:
        return ReadingError("a tab stands where YAML wants spaces; indent with spaces", line=line)
    if "but found another document" in problem:
        return ReadingError("a second document starts here (`---`); keep one study per file", line=line)
    return ReadingError(f"not valid YAML: {problem}; check colons, quotes and indentation around this line", line=line)


def _shorten(text: str, limit: int = 40) -> str:
    return ascii(text if len(text) <= limit else text[: limit - 3] + "...")
