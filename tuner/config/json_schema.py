"""The JSON Schema of the study YAML, for editors and other programs; committed as `studies/schema.json`."""

from __future__ import annotations

import json

from tuner.config.schema import StudyConfig


def study_schema() -> str:
    """Indented and sorted, with the description and the meaning of a change (`change`) of every setting."""
    schema = StudyConfig.model_json_schema(by_alias=True)
    schema["$schema"] = "https://json-schema.org/draft/2020-12/schema"
    return json.dumps(schema, indent=2, sort_keys=True) + "\n"
