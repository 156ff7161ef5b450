"""How long the rounds after round 1 are: each a multiple of the one before, so that lengths grow exponentially.

A compute-bound study knows its last length, the production length; multiples left to the study (`auto`) then are equal
ratios that lead there from round 1 (PROTOCOL 5).
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

from tuner.config.schema import LaterRound, StudyConfig
from tuner.config.spaces import scientific_names
from tuner.protocol.runs import has_plateau


def ratio_to_production(rounds: Sequence[LaterRound], *, before: float, production: float) -> float:
    """The multiple of each `auto` among the rounds still to come, so that the last has the production length.

    Never below one: given multiples may lead beyond it by themselves.

    >>> rounds = [LaterRound(), LaterRound(budget_multiple=2), LaterRound()]
    >>> ratio_to_production(rounds, before=100, production=3200)
    4.0
    """
    given = prod(item.budget_multiple for item in rounds if item.budget_multiple != "auto")
    num_auto = sum(item.budget_multiple == "auto" for item in rounds)
    return float(max(1.0, production / (before * given)) ** (1 / num_auto))


def has_twin(config: StudyConfig, item: LaterRound) -> bool:
    """Whether a longer round runs a lower-rate twin: never where the rate is the question, since none asked for it."""
    return item.lower_rate_twin and "learning_rate" not in scientific_names(config.given_space)


def expected_lengths(
    config: StudyConfig, before: float, *, production: float | None, place: int = 0
) -> list[tuple[LaterRound, float]]:
    """The later rounds from a place on with their lengths after a budget of `before`, as far as known beforehand.

    An `auto` whose length follows from what will be measured counts as no longer than the round before.
    """
    rest, lengths = config.later_rounds[place:], [before]
    for index, item in enumerate(rest):
        multiple = item.budget_multiple
        if multiple == "auto":
            multiple = 1.0
            if production is not None:
                multiple = ratio_to_production(rest[index:], before=lengths[-1], production=production)
        lengths.append(multiple * lengths[-1])
    return list(zip(rest, lengths[1:], strict=True))


def trunk_steps(config: StudyConfig, before: float) -> float:
    """What the first seed of a point need not train again after a round of `before` steps: all but a decay."""
    return (1 - config.training.decay_share) * before if has_plateau(config) else 0.0


def one_seed_steps(config: StudyConfig, before: float, *, production: float | None, place: int = 0) -> float:
    """Updates of one seed of every point of the later rounds from a place on: what is kept free for them."""
    needed = 0.0
    for item, each in expected_lengths(config, before, production=production, place=place):
        needed += item.num_trials * (each - trunk_steps(config, before))
        before = each
    return needed
