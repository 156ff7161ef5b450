"""A config as canonical JSON, the form in which a study is stored: every setting written out, keys sorted.

Defaults are written out too, so that a later version's defaults cannot change a stored study.
"""

from __future__ import annotations

import json

from tuner.config.problems import Origins
from tuner.config.schema import StudyConfig
from tuner.config.validation import normalise, validate
from tuner.errors import ConfigError


def config_to_json(config: StudyConfig) -> str:
    """Sorted keys, no spaces, floats by repr."""
    data = normalise(config).model_dump(mode="python", by_alias=True)
    return json.dumps(data, sort_keys=True, separators=(",", ":"), allow_nan=False)


def config_from_json(text: str) -> StudyConfig:
    """The config that `config_to_json` wrote. A study of before there were averaged weights measures none.

    Raises:
        ConfigError: if it is no config of this version.
    """
    try:
        data = json.loads(text)
    except ValueError as error:
        raise ConfigError(f"stored config: not JSON ({error}); was the database edited?") from None
    if isinstance(data, dict) and isinstance(data.get("evaluation"), dict):
        data["evaluation"].setdefault("averaged_horizons", [])
    return validate(data, Origins(source="stored config"))
