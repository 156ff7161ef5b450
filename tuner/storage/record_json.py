"""Records as canonical JSON in columns of text, and back.

Rule: equal records give equal text; a key that a record does not know is passed over, one that is missing has its
default, so that what another version wrote is read.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, fields, is_dataclass
from functools import cache
from types import NoneType, UnionType
from typing import Any, TypeVar, Union, get_args, get_origin, get_type_hints

R = TypeVar("R")


def to_json(record: Any) -> str:
    """Canonical JSON of a record: sorted keys, no spaces, floats by repr, NaN refused."""
    return json.dumps(asdict(record), sort_keys=True, separators=(",", ":"), allow_nan=False)


def from_json(cls: type[R], text: str) -> R:
    """The record that `to_json` wrote."""
    record: R = _build(cls, json.loads(text))
    return record


def _build(hint: Any, data: Any) -> Any:
    if is_dataclass(hint):
        hints = _hints_of(hint)  # type: ignore[arg-type]
        return hint(**{key: _build(hints[key], value) for key, value in data.items() if key in hints})  # type: ignore[operator]
    origin = get_origin(hint)
    if origin in (UnionType, Union):
        if data is None:
            return None
        records = [part for part in get_args(hint) if part is not NoneType and is_dataclass(part)]
        return _build(records[0], data) if records and isinstance(data, dict) else data
    if origin is tuple:
        parts = get_args(hint)
        return tuple(_build(parts[0], item) for item in data) if len(parts) == 2 and parts[1] is ... else tuple(data)
    return data


@cache
def _hints_of(record: Any) -> Mapping[str, Any]:
    """The types of a record's fields; worked out once, for it takes longer than all the rest of reading a record."""
    hints = get_type_hints(record)
    return {field.name: hints[field.name] for field in fields(record)}
