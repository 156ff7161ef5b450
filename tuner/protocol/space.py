"""The search space that binds: as given, or as a committed decision resolved it (`auto`) or widened it (D8)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from tuner.config.schema import Dimension, StudyConfig
from tuner.records import Decision, Json

SPACE = "search_space"
"""The key under which a decision keeps the space that holds from it on."""


def space_of(config: StudyConfig, decisions: Sequence[Decision]) -> Mapping[str, Dimension]:
    """The space after these decisions; empty for `auto` before round 1 has opened."""
    for decision in reversed(decisions):
        if SPACE in decision.numbers:
            return {name: Dimension.model_validate(data) for name, data in decision.numbers[SPACE].items()}
    return config.given_space


def told_space(space: Mapping[str, Dimension]) -> dict[str, Json]:
    """A space as a decision keeps it."""
    return {name: dimension.model_dump(mode="json", exclude_none=True) for name, dimension in space.items()}
