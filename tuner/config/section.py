"""What all sections of the study YAML share: frozen, unknown keys refused, and each setting says what a change means.

`recipe` decides the weights, `decision` decides what the protocol does, `execution` how it is carried out,
`presentation` how it is shown (D8).
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field

Change = Literal["recipe", "decision", "execution", "presentation"]
CHANGES: tuple[Change, ...] = get_args(Change)


def setting(default: Any = ..., *, change: Change, description: str, **rules: Any) -> Any:
    """A field with its default, what a change of it means on an existing study, and its one-line description."""
    return Field(default, description=description, json_schema_extra={"change": change}, **rules)


class Section(BaseModel):
    """A mapping of the YAML: immutable, unknown keys refused, numbers not taken from strings."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=False, allow_inf_nan=False)


Positive = Annotated[int, Field(ge=1)]
