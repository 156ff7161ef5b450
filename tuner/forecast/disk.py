"""Disk that a study's checkpoints may take, in closed form: parameters x bytes x the files that are kept.

The one rule: an upper bound from the config alone; no model is built and no data is read.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from tuner.config.model_sizes import num_parameters
from tuner.config.schema import CausalLMWorkload, StudyConfig
from tuner.protocol.plan import PlannedPhase
from tuner.protocol.sweep_hours import SWEEP

BYTES_PER_WEIGHT: Final = 4
"""Weights and optimizer state are float32 whatever the precision."""

STATES_PER_WEIGHT: Final = {"adamw": 2, "sgd": 1}

FILES_BEING_REPLACED: Final = 1
"""A new state is durable before the old one goes, so each trial holds one more for a moment."""

KEPT_STATES: Final = 3
"""Full states that a round's trial keeps: where its plateau can be left, the newest before, and the last."""


def checkpoint_bytes(config: StudyConfig, plan: Sequence[PlannedPhase]) -> int | None:
    """The most that all checkpoints of a study may take together; None where the model is not known before it is built.

    A rate of the sweep keeps its newest state; a trial of a round its fork points, the states reserved for decays to be
    tuned anew, and the best weights, averaged ones too, at or before each of them.
    """
    if not isinstance(config.workload, CausalLMWorkload):
        return None
    parameters = num_parameters(config.workload)
    full = parameters * BYTES_PER_WEIGHT * (1 + STATES_PER_WEIGHT[config.training.optimizer])
    weights = parameters * BYTES_PER_WEIGHT
    num_averages = len(config.evaluation.averaged_horizons)
    reserved = len(config.round_1.decay_shares) if config.round_1.adjust != "none" else 0
    if config.frontier is not None:
        asked = config.frontier
        reserved += asked.num_budgets if asked.budgets is None else len(asked.budgets)
    total = 0
    for phase in plan:
        states = (1 if phase.name == SWEEP else KEPT_STATES + reserved) + config.execution.save_total_limit - 1
        num_states, num_weights = states + FILES_BEING_REPLACED, 0 if phase.name == SWEEP else states + 1
        if phase.name != SWEEP and num_averages:
            # Each state holds every average, and the best averaged weights are kept beside the best weights.
            num_weights += num_averages * num_states + num_weights
        total += phase.max_trials * (num_states * full + num_weights * weights)
    return total
