"""Exponential averages of the weights along a run, as their evaluations are stored.

`EvalSpec.averaged_horizons` names the horizons in updates; an average over h updates is measured on validation only, at
the run's own evaluation steps, under a split of its own: whoever reads `validation` sees the weights themselves.
"""

from __future__ import annotations

from tuner.records import VALIDATION


def averaged_split(horizon: int) -> str:
    """The split of `tuner_evals` under which the weights averaged over `horizon` updates are measured.

    >>> averaged_split(50)
    'validation_averaged_50'
    """
    return f"{VALIDATION}_averaged_{horizon}"
