"""The `frontier` section of the study YAML, which `tuner frontier` gives as options."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from tuner.config.section import Positive, Section, setting


class Frontier(Section):
    """The metric against the step budget, from cooldowns forked off one trunk (`tuner frontier NAME`)."""

    num_budgets: Annotated[int, Field(ge=2)] = setting(
        8, change="decision", description="budgets from half of the answer's to all of it, evenly spaced"
    )
    budgets: tuple[Positive, ...] | None = setting(
        None, change="decision", description="these budgets instead, in updates"
    )
    decay_share: Annotated[float, Field(gt=0, lt=1)] | None = setting(
        None, change="decision", description="length of each cooldown as a share of its budget; default: the answer's"
    )
    decay_shape: Literal["auto", "linear", "1-sqrt", "cosine"] = setting(
        "auto", change="decision", description="shape of the cooldowns; auto: the answer's"
    )
    num_seeds: Positive = setting(
        1, change="decision", description="trunks of the answer's rate, for the interval and the knee"
    )
    half_rate: bool = setting(
        True, change="decision", description="a trunk at half the rate beside it: one rate flatters its own budget"
    )
    proxy: bool = setting(
        False,
        change="decision",
        description="every evaluation of the trunk from half of its budget on is a budget, judged by averaged weights "
        "(evaluation.averaged_horizons) instead of by a cooldown, at the price of the trunk; refused where real "
        "cooldowns contradict them",
    )
    num_calibrations: Annotated[int, Field(ge=2)] = setting(
        2, change="decision", description="of proxy: real cooldowns of each trunk, from half to all of its budget"
    )

    @model_validator(mode="after")
    def _budgets_are_counted_once(self) -> Frontier:
        if self.proxy and self.num_budgets != Frontier.model_fields["num_budgets"].default:
            raise ValueError(
                f"num_budgets={self.num_budgets} has no effect with proxy=true, where every evaluation is a budget; "
                "remove it, or give num_calibrations"
            )
        if not self.proxy and self.num_calibrations != Frontier.model_fields["num_calibrations"].default:
            raise ValueError(
                f"num_calibrations={self.num_calibrations} calibrates a proxy, and proxy=false; remove it, or use "
                "proxy: true"
            )
        return self
