"""`search_space: auto`: which hyperparameters a round of so many trials can tune, and over which ranges.

After the playbook's advice for Adam (PROTOCOL 3): few trials tune the learning rate alone, more of them also beta1,
then epsilon, then beta2. The learning rate's range is known only after the sweep.
"""

from __future__ import annotations

from tuner.config.schema import Dimension, StudyConfig

BELOW_SWEEP, ABOVE_SWEEP = 30, 3
"""The rates: the sweep's best / 30 to x 3, since the fastest to fit is rather too high for the best (ours)."""

_ORDER: dict[str, tuple[tuple[int, str], ...]] = {
    "adamw": ((10, "beta1"), (25, "epsilon"), (50, "beta2")),
    "sgd": ((10, "momentum"),),
}
"""From so many trials on, what joins the learning rate. Adam's by the playbook but for 50; SGD's is ours."""

_RANGES = {
    "beta1": Dimension(low=0.8, high=0.99, scale="one_minus_log"),
    "beta2": Dimension(low=0.95, high=0.9999, scale="one_minus_log"),
    "epsilon": Dimension(low=1e-10, high=1e-6, scale="log"),
    "momentum": Dimension(low=0.8, high=0.99, scale="one_minus_log"),
}
"""Around the defaults of the field (ours)."""


def auto_names(config: StudyConfig) -> tuple[str, ...]:
    """What `auto` searches in this study."""
    wanted = config.round_1.num_trials
    joining = (name for least, name in _ORDER[config.training.optimizer] if wanted >= least)
    return ("learning_rate", *joining)


def auto_space(config: StudyConfig, best_rate: float) -> dict[str, Dimension]:
    """The space that `auto` stands for, once the sweep has found its best rate."""
    low, high = (float(f"{rate:.4g}") for rate in (best_rate / BELOW_SWEEP, best_rate * ABOVE_SWEEP))
    rates = Dimension(low=low, high=high, scale="log")
    return {name: rates if name == "learning_rate" else _RANGES[name] for name in auto_names(config)}


def describe_auto(config: StudyConfig) -> str:
    """One sentence: what `auto` will mean, before the sweep has run."""
    told = [f"learning_rate (the sweep's best / {BELOW_SWEEP} to x {ABOVE_SWEEP}, log)"]
    for name in auto_names(config)[1:]:
        dimension = _RANGES[name]
        told.append(f"{name} ({dimension.low:g} to {dimension.high:g}, {dimension.scale})")
    count = config.round_1.num_trials
    return f"search_space: auto will search {', '.join(told)}: what round_1.num_trials={count} can tune"
