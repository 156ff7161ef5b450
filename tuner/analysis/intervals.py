"""Shares of few trials, with what so few can tell: Wilson's score interval.

A count is never shown without its total, nor a share without its interval.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import sqrt

Z_95 = 1.959963984540054
"""Two-sided 95 % of the normal distribution."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Share:
    """`count` of `total` trials, with the 95 % Wilson interval of the share."""

    count: int
    total: int
    low: float
    high: float

    def is_at_least(self, percent: int) -> bool:
        """Whether the counted share reaches a percentage; a share of nothing never does."""
        return self.total > 0 and 100 * self.count >= percent * self.total

    def __str__(self) -> str:
        return f"{self.count} of {self.total} ({100 * self.low:.0f}-{100 * self.high:.0f} %)"


def share(count: int, total: int) -> Share:
    """A share with its interval.

    >>> print(share(4, 5))
    4 of 5 (38-96 %)
    """
    low, high = wilson(count, total)
    return Share(count=count, total=total, low=low, high=high)


def wilson(count: int, total: int, *, z: float = Z_95) -> tuple[float, float]:
    """The score interval of a binomial share (Wilson 1927); (0, 1) when there is nothing to count.

    Raises:
        ValueError: if `count` is not between 0 and `total`.
    """
    if not 0 <= count <= total:
        raise ValueError(f"count={count} is not between 0 and total={total}")
    if total == 0:
        return 0.0, 1.0
    observed, weight = count / total, z * z / total
    center = (observed + weight / 2) / (1 + weight)
    reach = z * sqrt(observed * (1 - observed) / total + weight / (4 * total)) / (1 + weight)
    # At the ends the formula gives 0 and 1 exactly, but for rounding.
    low = 0.0 if count == 0 else center - reach
    high = 1.0 if count == total else center + reach
    return low, high


def student_quantile(share: float, freedom: int) -> float:
    """Student's quantile: how many standard errors a mean of few values may lie off by chance.

    >>> round(student_quantile(0.95, 4), 2)
    2.13
    """
    from scipy.special import stdtrit  # only where something was replicated or probed

    return float(stdtrit(freedom, share))
