"""`--add-point learning_rate=1e-3,dropout=0.1`: an idea of the user's, read as a point of the search space.

Numbers may lie outside the range that was searched, for it is the user's idea, and that is told; names, kinds of value
and the settings' own bounds are judged as in `search_space`. What is left out is as in the answer.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from tuner.config.dimension import Dimension
from tuner.config.overrides import parse_override
from tuner.config.schema import StudyConfig
from tuner.config.search_rules import target_of
from tuner.config.spaces import at_point, exists, in_order, is_same, setting_of
from tuner.config.wording import in_range, shown
from tuner.errors import ConfigError
from tuner.records import Params, Value

OPTION = "--add-point"


@dataclass(frozen=True, slots=True, kw_only=True)
class AddedPoint:
    """A point with what is to be told of it: the settings taken from the answer, and values that were not searched."""

    params: dict[str, Value]
    from_answer: tuple[str, ...]
    outside: tuple[str, ...]


def added_point(text: str, config: StudyConfig, space: Mapping[str, Dimension], *, answer: Params | None) -> AddedPoint:
    """The point that a user gave as `name=value,...`.

    Raises:
        ConfigError: a name that is not searched, a value of the wrong kind, or one missing while there is no answer.
    """
    if not space:
        is_chosen_later = config.search_space == "auto"
        why = (
            "search_space: auto is chosen when round_1 opens; tuner resume first" if is_chosen_later else "it is empty"
        )
        raise ConfigError(f"{OPTION} {text}: study {config.study!r} has no search space to hold a point: {why}")
    given = _given(text, {setting_of(label) for label in space})
    point: dict[str, Value] = {}
    from_answer = []
    for label in in_order(space):
        name = setting_of(label)
        if not exists(space[label], point):
            continue
        if name in given:
            point[name] = given[name]
        elif answer is not None and name in answer:
            point[name] = answer[name]
            from_answer.append(name)
        else:
            why = "there is no answer yet to take it from" if answer is None else "the answer has none to take"
            raise ConfigError(f"{OPTION} {text}: {name} is missing, and {why}; give it too: {name}=...")
    for name in given:
        if name not in point:
            raise ConfigError(f"{OPTION} {text}: {name} does not exist at this point (its `when` does not hold)")
    labels = at_point(space, point)
    outside = [name for name in given if _is_outside(text, name, point[name], space[labels[name]], config)]
    # Written as 2.0, a whole number is the same point as 2.
    point |= {n: int(v) for n, v in point.items() if space[labels[n]].integer and isinstance(v, int | float)}
    return AddedPoint(params=dict(sorted(point.items())), from_answer=tuple(from_answer), outside=tuple(outside))


def _given(text: str, known: set[str]) -> dict[str, Value]:
    given: dict[str, Value] = {}
    for part in text.split(","):
        try:
            name, value = parse_override(part)
        except ConfigError as error:
            raise ConfigError(f"{OPTION} {text}: {error}") from None
        if name not in known:
            raise ConfigError(f"{OPTION} {text}: {name} is not searched by this study; use {', '.join(sorted(known))}")
        if name in given:
            raise ConfigError(f"{OPTION} {text}: {name} is given twice; keep one of them")
        given[name] = value
    return given


def _is_outside(text: str, name: str, value: Value, dimension: Dimension, config: StudyConfig) -> bool:
    """Whether a number lies outside of what was searched.

    Raises:
        ConfigError: if the value is of another kind than those searched, or breaks the setting's own bounds.
    """
    start, choices = f"{OPTION} {text}: {name}={shown(value)}", dimension.choices
    if choices is not None and any(is_same(value, choice) for choice in choices):
        return False
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    takes_numbers = choices is None or all(isinstance(c, int | float) and not isinstance(c, bool) for c in choices)
    if not is_number or not takes_numbers:
        use = "a number" if choices is None else f"one of {', '.join(shown(choice) for choice in choices)}"
        raise ConfigError(f"{start} is no value that this study can rank beside the others; use {use}")
    assert isinstance(value, int | float)
    if dimension.integer and value != int(value):
        raise ConfigError(f"{start} is not a whole number, as search_space.{name} asks for")
    target = target_of(name, config)
    rule = None if target is None else in_range(value, target, {"workload": {"kind": config.workload.kind}})
    if rule is not None:
        raise ConfigError(f"{start} is out of range for {'.'.join(map(str, target or ()))}; use {rule}")
    if dimension.scale == "log" and value <= 0:
        raise ConfigError(f"{start} must be above 0, as search_space.{name} has a log scale")
    if dimension.scale == "one_minus_log" and value >= 1:
        raise ConfigError(f"{start} must be below 1, as search_space.{name} has a one_minus_log scale")
    if choices is not None:
        return True
    assert dimension.low is not None
    assert dimension.high is not None
    return not dimension.low <= value <= dimension.high


def added_points(
    texts: Sequence[str], config: StudyConfig, space: Mapping[str, Dimension], *, answer: Params | None
) -> list[AddedPoint]:
    """The points of all options, in their order.

    Raises:
        ConfigError: as `added_point`.
    """
    return [added_point(text, config, space, answer=answer) for text in texts]
