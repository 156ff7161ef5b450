"""What the search proposes when a phase asks for points: one place that knows all samplers.

Proposals are a pure function of the config, the space and stored rows; resuming is asking again.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from tuner.config.scales import grid_points
from tuner.config.schema import Dimension, StudyConfig
from tuner.protocol.generations import num_startup
from tuner.records import PhaseRecord, Value
from tuner.trials.search import halton_points


def propose(
    config: StudyConfig,
    space: Mapping[str, Dimension],
    phase: PhaseRecord,
    *,
    num_points: int,
    within: Mapping[str, tuple[float, float]] = MappingProxyType({}),
) -> list[dict[str, Value]]:
    """The next `num_points` of a phase, after those that it has; what stands there has ended if a sampler learns.

    `within` narrows dimensions to a stretch, which Halton then fills, whatever sampler the study has.
    """
    if within:
        ends = {name: {"low": low, "high": high} for name, (low, high) in within.items()}
        narrow = {name: space[name].model_copy(update=update) for name, update in ends.items()}
        return _explore(config, {**space, **narrow}, phase, num_points=num_points)
    first, sampler = len(phase.trials), config.round_1.sampler
    if sampler == "grid":
        return grid_points(space)[first : first + num_points]
    if sampler == "halton" or first < num_startup(config):
        # A generation is either of Halton or of the sampler: the start is a whole number of generations.
        return _explore(config, space, phase, num_points=num_points)
    from tuner.trials.adaptive import Past, adaptive_points  # Optuna, and torch for GP: only where they are used

    return adaptive_points(
        sampler,
        space,
        range(first, first + num_points),
        seed=(config.seed, phase.name),
        past=Past(phase.trials, phase.plan.eval.direction),
    )


def _explore(
    config: StudyConfig, space: Mapping[str, Dimension], phase: PhaseRecord, *, num_points: int
) -> list[dict[str, Value]]:
    """Halton's points by the trials' numbers, whatever sampler the study has."""
    return halton_points(space, num_points, seed=config.seed, phase=phase.name, first=len(phase.trials))
