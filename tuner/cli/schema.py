"""`tuner schema`: the JSON Schema of the study YAML, for editors and validators."""

from __future__ import annotations


def schema_command() -> None:
    """Print the JSON Schema of the study YAML.

    \b
    tuner schema > study.schema.json
    """
    from tuner.config.json_schema import study_schema

    print(study_schema().rstrip("\n"))
