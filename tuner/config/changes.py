"""What a changed config means for a study that exists already (D8): judged setting by setting.

`execution` and `presentation` may change at any time; `decision` and `recipe` need another study, but for what
`tuner extend` adds (`config/extension.py`).
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from pydantic.fields import FieldInfo

from tuner.config.problems import KeyPath, dotted
from tuner.config.schema import Change, Section, StudyConfig
from tuner.config.validation import normalise
from tuner.config.wording import shown
from tuner.errors import ConfigError
from tuner.records import Json

NOT_SET = "(not set)"
"""Stands for the value of a key that one of the two configs does not have."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SettingChange:
    """One setting that differs, by its dotted path, and what a change of it means."""

    path: str
    old: Json
    new: Json
    change: Change


def compare(old: StudyConfig, new: StudyConfig) -> tuple[SettingChange, ...]:
    """Every setting that differs; `search_space` and free mappings such as `options` key by key."""
    return tuple(_differences(normalise(old), normalise(new), (), "recipe"))


def refuse_or_merge(old: StudyConfig, new: StudyConfig, *, command: Literal["run", "resume"]) -> StudyConfig:
    """The config to go on with: `new`, if it differs from the stored one in execution and presentation only.

    Raises:
        ConfigError: one line per setting that would change the study's decisions or its recipe.
    """
    new = beside_yaml(old, new)
    refused = [change for change in compare(old, new) if change.change in ("decision", "recipe")]
    if refused:
        raise ConfigError("\n".join(_refusal(change, old.study, command) for change in refused))
    return new


def beside_yaml(old: StudyConfig, new: StudyConfig) -> StudyConfig:
    """The YAML's config with what a stored one may have beside it: a frontier of `tuner frontier`, no averages."""
    if old.frontier is not None:
        new = new.model_copy(update={"frontier": old.frontier})
    if lacks_averages(old, new):
        evaluation = new.evaluation.model_copy(update={"averaged_horizons": ()})
        new = new.model_copy(update={"evaluation": evaluation})
    return new


def lacks_averages(old: StudyConfig, new: StudyConfig) -> bool:
    """Whether a study measures no averaged weights and its YAML, which says nothing of them, now would.

    So it is with studies of before there were averages: they go on as they began.
    """
    default = type(new.evaluation).model_fields["averaged_horizons"].default
    return not old.evaluation.averaged_horizons and new.evaluation.averaged_horizons == default


def shown_change(change: SettingChange) -> str:
    """`old -> new`, as a user would write them."""
    return f"{_shown(change.old)} -> {_shown(change.new)}"


def change_of(field: FieldInfo) -> Change:
    """The annotation that every setting of the schema has."""
    extra = field.json_schema_extra
    if not isinstance(extra, dict) or "change" not in extra:
        raise TypeError(f"a setting without a change annotation: {field}")
    change: Change = extra["change"]  # type: ignore[assignment]
    return change


def _differences(old: Any, new: Any, path: KeyPath, change: Change) -> Iterator[SettingChange]:
    if isinstance(old, Section) and type(old) is type(new):
        for name, field in type(old).model_fields.items():
            below = (*path, field.alias or name)
            yield from _differences(getattr(old, name), getattr(new, name), below, change_of(field))
    elif isinstance(old, Mapping) and isinstance(new, Mapping):
        for key in dict.fromkeys([*old, *new]):
            yield from _differences(old.get(key, NOT_SET), new.get(key, NOT_SET), (*path, key), change)
    elif _are_sections(old) and _are_sections(new) and len(old) == len(new):
        for index, (before, after) in enumerate(zip(old, new, strict=True)):
            yield from _differences(before, after, (*path, index), change)
    elif hasattr(old, "kind") and hasattr(new, "kind"):
        yield SettingChange(path=dotted((*path, "kind")), old=old.kind, new=new.kind, change=change)
    elif _canonical(old) != _canonical(new):
        yield SettingChange(path=dotted(path), old=_plain(old), new=_plain(new), change=change)


def _are_sections(value: Any) -> bool:
    return isinstance(value, tuple) and all(isinstance(item, Section) for item in value)


def _plain(value: Any) -> Json:
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return value.model_dump(mode="python", by_alias=True) if isinstance(value, Section) else value


def _canonical(value: Any) -> str:
    """Equal only if written alike: 1, 1.0 and true are different values of an option."""
    return json.dumps(_plain(value), sort_keys=True)


def _refusal(change: SettingChange, study: str, command: str) -> str:
    start = f"{change.path}: {shown_change(change)}"
    if change.path.partition(".")[0] == "frontier":
        return f"{start} is no change that `tuner {command}` makes; measure it beside the study: tuner frontier {study}"
    if change.change == "recipe":
        return (
            f"{start} would change the weights of study {study!r}, so `tuner {command}` refuses it; "
            "give the changed study another name: it will still share what agrees"
        )
    return (
        f"{start} would change what study {study!r} decides, and its committed decisions bind, so `tuner {command}` "
        f"refuses it; where it only adds, `tuner extend {study}` makes it, else give the changed study another name: "
        "it will still share what agrees"
    )


def _shown(value: Json) -> str:
    return value if value == NOT_SET else shown(value)
