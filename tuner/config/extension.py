"""What `tuner extend` may change of a study that exists: decisions, upwards (D8). One table says which way is up.

Whatever else would change what was decided or measured is refused, with the setting, its value, the rule and a remedy.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

from tuner.config import rules
from tuner.config.changes import SettingChange, beside_yaml, compare, shown_change
from tuner.config.overrides import apply_overrides
from tuner.config.problems import COMMAND_LINE, Origins, raise_problems
from tuner.config.schema import StudyConfig
from tuner.config.validation import validate
from tuner.errors import ConfigError
from tuner.records import Json

ANOTHER: Final = "give the changed study another name: it will still share what agrees"


@dataclass(frozen=True, slots=True)
class Upwards:
    """Which changes of a setting only add to what a study did, and how that is told."""

    holds: Callable[[Any, Any], bool]
    told: str


def _is_larger(old: Any, new: Any) -> bool:
    return new is not None and (old is None or new > old)


def _is_longer(old: Any, new: Any) -> bool:
    """A limit: none at all is the most."""
    return old is not None and (new is None or new > old)


def _is_multiple(old: Any, new: Any) -> bool:
    return bool(new != "auto" and (old == "auto" or new > old))


LARGER = Upwards(_is_larger, "only a larger number adds to the study")
LATER_ROUND: Final = "rounds.*"
FRONTIER: Final = "frontier"

UPWARDS: Final = {
    "budget.max_steps": LARGER,
    "budget.production_steps": LARGER,
    "limits.study_hours": Upwards(_is_longer, "only more hours, or null, add to the study"),
    "limits.run_hours": LARGER,
    "budget_sweep.max_widenings": LARGER,
    "round_1.num_trials": LARGER,
    "round_1.max_adjustments": LARGER,
    "round_1.adjust": Upwards(
        lambda old, new: (old, new) == ("none", "probe"), "only none -> probe measures more than the study did"
    ),
    "round_1.decay_shares": Upwards(
        lambda old, new: set(old) < set(new), "only shares beside those that it has try more decays"
    ),
    f"{LATER_ROUND}.num_trials": LARGER,
    f"{LATER_ROUND}.num_seeds": LARGER,
    f"{LATER_ROUND}.budget_multiple": Upwards(_is_multiple, "only a larger multiple trains longer than the study did"),
    f"{LATER_ROUND}.lower_rate_twin": Upwards(lambda old, new: bool(new), "only true adds a run"),
    FRONTIER: Upwards(lambda old, new: new is not None, "what was measured stays"),
}
"""Every decision that may move on a study that exists, and which way."""

_NOT_JOINED = "what was measured under one and under the other cannot be ranked together, so `tuner extend` refuses it"


def extended_config(old: StudyConfig, overrides: Sequence[str]) -> StudyConfig:
    """The study's config with the settings that `tuner extend` was given.

    `rounds.1.budget_multiple=2` adds a second round after round 1, also where the first was written as `round_2`.

    Raises:
        ConfigError: one line per setting that cannot be read, that breaks a rule, or that may not move this way.
    """
    data = old.model_dump(mode="json", by_alias=True)
    _as_list(data, overrides)
    data, paths = apply_overrides(data, overrides)
    origins = Origins(source=COMMAND_LINE, overridden=paths)
    new = validate(data, origins)
    raise_problems(rules.problems(new), origins)
    refused = [line for change in changes(old, new) if (line := _refusal(change, old.study)) is not None]
    if refused:
        raise ConfigError("\n".join(refused))
    return new


def changes(old: StudyConfig, new: StudyConfig) -> tuple[SettingChange, ...]:
    """Every setting that differs; later rounds one by one, however they are written."""
    rounds = list(zip(old.later_rounds, new.later_rounds, strict=False))
    before, after = (
        config.model_copy(update={"round_2": None, "rounds": tuple(each[place] for each in rounds)})
        for place, config in enumerate((old, new))
    )
    found = compare(before, after)
    if new.rounds is None:
        found = tuple(_named(change) for change in found)
    numbers = len(old.later_rounds), len(new.later_rounds)
    if numbers[0] != numbers[1]:
        found = (*found, SettingChange(path="rounds", old=numbers[0], new=numbers[1], change="decision"))
    return found


def keep_extended(stored: StudyConfig, new: StudyConfig, moved: Iterable[tuple[str, Json]]) -> StudyConfig:
    """The stored config where it differs from a study's YAML only in what `tuner extend` has moved since.

    `moved` are the settings that it moved, each with the value that it had: a YAML that says another one by now was
    changed too. What may change at any time is taken from the YAML.
    """
    new, before = beside_yaml(stored, new), [(_place(path), value) for path, value in moved]
    differ = [(_place(each.path), each.new) for each in changes(stored, new) if each.change in ("decision", "recipe")]
    if not differ or any(each not in before for each in differ):
        return new
    return stored.model_copy(update={"execution": new.execution, "description": new.description})


def accepted(change: SettingChange) -> bool:
    """Whether `tuner extend` makes this change."""
    return change.change in ("execution", "presentation") or _rule_holds(change)


def _rule_holds(change: SettingChange) -> bool:
    if change.path == "rounds":
        return int(change.new) > int(change.old)
    rule = _rule(change.path)
    return rule is not None and rule.holds(change.old, change.new)


def _rule(path: str) -> Upwards | None:
    if path.partition(".")[0] == FRONTIER:
        return UPWARDS[FRONTIER]
    return UPWARDS.get(re.sub(r"^rounds\.\d+(?=\.)", LATER_ROUND, _place(path)))


def _place(path: str) -> str:
    """A path with `round_2` as the first of `rounds`, which it is short for."""
    return re.sub(r"^round_2(?=\.)", "rounds.0", path)


def _refusal(change: SettingChange, study: str) -> str | None:
    if accepted(change):
        return None
    start, rule = f"{change.path}: {shown_change(change)}", _rule(change.path)
    if change.path == "rounds":
        return f"{start}: what was trained stays, and only more rounds add to study {study!r}; {ANOTHER}"
    if rule is not None:
        return f"{start}: {rule.told}, and `tuner extend` takes nothing away; {ANOTHER}"
    if change.change == "recipe":
        return f"{start} would change the weights of study {study!r}, so `tuner extend` refuses it; {ANOTHER}"
    if change.path.partition(".")[0] == "evaluation":
        return f"{start}: {_NOT_JOINED}; {ANOTHER}"
    return (
        f"{start} would change what study {study!r} has decided already, so `tuner extend` refuses it: it moves "
        f"{', '.join(movable())}; {ANOTHER}"
    )


def movable() -> Iterator[str]:
    """The settings that may move upwards, as users write them."""
    return (name.replace(LATER_ROUND, "rounds.N") for name in UPWARDS)


def _as_list(data: dict[str, Any], overrides: Sequence[str]) -> None:
    """Write `round_2` as the list that it is short for, if more rounds are asked for, and make room for the next."""
    places = [re.match(r"rounds(?:\.(\d+)\.|=)", override) for override in overrides]
    if not any(places):
        return
    if data["rounds"] is None:
        data["rounds"] = [] if data["round_2"] is None else [data["round_2"]]
        data["round_2"] = None
    for place in sorted(int(found[1]) for found in places if found and found[1]):
        if place == len(data["rounds"]):
            data["rounds"].append({})


def _named(change: SettingChange) -> SettingChange:
    path = re.sub(r"^rounds\.0\b", "round_2", change.path)
    return SettingChange(path=path, old=change.old, new=change.new, change=change.change)
