"""What the search proposes when a phase asks for points: one place that knows all samplers.

Proposals are a pure function of the config, the space and stored rows; resuming is asking again.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType

from tuner.config.schema import Dimension, StudyConfig
from tuner.config.spaces import grid_points, is_under, scientific_values, under
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

    Scientific values take turns by the trial's number, so that they get equally many whatever the sampler; each has its
    own nuisance dimensions, and its own past. `within` narrows dimensions to a stretch, which Halton then fills.
    """
    first, values = len(phase.trials), scientific_values(space)
    found: dict[int, dict[str, Value]] = {}
    for turn, value in enumerate(values):
        numbers = [number for number in range(first, first + num_points) if number % len(values) == turn]
        own = replace(phase, trials=tuple(trial for trial in phase.trials if is_under(value, trial.params)))
        points = _under(config, under(space, value), own, numbers=numbers, within=within, start=first)
        found |= {number: dict(sorted({**value, **each}.items())) for number, each in zip(numbers, points, strict=True)}
    return [found[number] for number in sorted(found)]


def _under(
    config: StudyConfig,
    space: Mapping[str, Dimension],
    phase: PhaseRecord,
    *,
    numbers: list[int],
    within: Mapping[str, tuple[float, float]],
    start: int,
) -> list[dict[str, Value]]:
    """Points under one scientific value: for trials of these numbers, after those of `phase`."""
    first, sampler = len(phase.trials), config.round_1.sampler
    if within:
        ends = {name: {"low": low, "high": high} for name, (low, high) in within.items()}
        narrow = {name: space[name].model_copy(update=update) for name, update in ends.items()}
        return _explore(config, {**space, **narrow}, phase, num_points=len(numbers))
    if sampler == "grid":
        return grid_points(space)[first : first + len(numbers)]
    # A generation is either of Halton or of the sampler: the start is a whole number of generations.
    if sampler == "halton" or start < num_startup(config) or not space:
        return _explore(config, space, phase, num_points=len(numbers))
    from tuner.trials.adaptive import Past, adaptive_points  # Optuna, and torch for GP: only where they are used

    return adaptive_points(
        sampler,
        space,
        numbers,
        seed=(config.seed, phase.name),
        past=Past(phase.trials, phase.plan.eval.direction),
    )


def _explore(
    config: StudyConfig, space: Mapping[str, Dimension], phase: PhaseRecord, *, num_points: int
) -> list[dict[str, Value]]:
    """Halton's points by index, whatever sampler the study has; the same shares for all scientific values."""
    return halton_points(space, num_points, seed=config.seed, phase=phase.name, first=len(phase.trials))
