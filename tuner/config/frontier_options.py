"""The options of `tuner frontier` as the section of the YAML that they stand for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

from tuner.config.schema import Frontier, StudyConfig
from tuner.errors import ConfigError


def with_frontier(config: StudyConfig, asked: Mapping[str, Any]) -> StudyConfig:
    """The config with the frontier that was asked for, by the names of its settings.

    Raises:
        ConfigError: if an option has a value that the setting may not have.
    """
    try:
        found = Frontier.model_validate(dict(asked))
    except ValidationError as error:
        first = error.errors()[0]
        if not first["loc"]:
            raise ConfigError(f"{first['msg'].removeprefix('Value error, ')}; see tuner frontier --help") from error
        option = str(first["loc"][0]).replace("_", "-")
        raise ConfigError(f"--{option}: {first['input']}: {first['msg'].lower()}; see tuner frontier --help") from error
    return config.model_copy(update={"frontier": found})
