"""One dimension of `search_space`: a range or choices, its role, and when it exists.

A setting may have several dimensions, each `when` another setting has such a value: then they are different
hyperparameters of one name, with ranges of their own (playbook, "scientific, nuisance and fixed").
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Discriminator, Field, Tag, model_validator

from tuner.config.section import Section, setting

Choice = float | int | str | bool
Role = Literal["scientific", "nuisance"]


class Dimension(Section):
    """One searched hyperparameter: a range (`low`, `high`, `scale`) or `choices`."""

    low: float | None = setting(None, change="decision", description="smallest value")
    high: float | None = setting(None, change="decision", description="largest value")
    scale: Literal["linear", "log", "one_minus_log"] = setting(
        "linear", change="decision", description="one_minus_log: 1 - x in log scale, for betas"
    )
    integer: bool = setting(False, change="decision", description="whole numbers only")
    choices: tuple[Choice, ...] | None = setting(None, change="decision", description="a list instead of a range")
    num_points: Annotated[int, Field(ge=2, le=1000)] | None = setting(
        None,
        change="decision",
        description="points along a range, both ends included; for round_1.sampler: grid, and for a scientific range",
    )
    role: Role = setting(
        "nuisance",
        change="decision",
        description="scientific: the study's question, its values get equally many trials; nuisance: tuned for each "
        "scientific value; what is not searched is fixed",
    )
    when: dict[str, Choice | tuple[Choice, ...]] = setting(
        {},
        change="decision",
        description="exists only in trials where these other dimensions, which have choices, take this value or one of "
        "this list",
    )

    @property
    def conditions(self) -> dict[str, tuple[Choice, ...]]:
        """`when`, each value as a list."""
        return {name: asked if isinstance(asked, tuple) else (asked,) for name, asked in self.when.items()}

    @model_validator(mode="after")
    def _is_range_or_choices(self) -> Dimension:
        if self.choices is not None:
            if self.low is not None or self.high is not None:
                raise ValueError("has choices and a range; keep one of them")
            if not self.choices:
                raise ValueError("choices=[] is empty; list at least one value")
            return self
        if self.low is None or self.high is None:
            raise ValueError("needs low and high, or choices; add them")
        if self.low >= self.high:
            raise ValueError(f"low={self.low:g} is not below high={self.high:g}; swap them or widen the range")
        if self.scale == "log" and self.low <= 0:
            raise ValueError(f"low={self.low:g} cannot be drawn in log scale; use a positive low or scale: linear")
        if self.scale == "one_minus_log" and self.high >= 1:
            raise ValueError(f"high={self.high:g} cannot be drawn with scale one_minus_log; use a high below 1")
        return self


def _form(data: Any) -> str:
    return "dimensions" if isinstance(data, list | tuple) else "dimension"


Dimensions = Annotated[
    Annotated[Dimension, Tag("dimension")] | Annotated[tuple[Dimension, ...], Tag("dimensions")], Discriminator(_form)
]
"""What stands under a name of `search_space`: one dimension, or a list of them that exist in different trials."""
