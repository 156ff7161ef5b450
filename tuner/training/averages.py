"""Exponential averages of the trainable weights along a run: a stand-in for the model that a decay would have given.

The one rule: they follow from the weights so far and nothing that trains reads them, so that a run is the same bit for
bit with and without them. Their past is part of a checkpoint; one whose past is unknown is not measured (`adopt`).
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from typing import Final

import torch
from torch import nn
from torch.optim.swa_utils import get_ema_multi_avg_fn

from tuner.training.optimizer import trainable_parameters

AVERAGES_PREFIX: Final = "averages."
"""Before `<horizon>.<parameter>` in full-state files."""


def decay_at(update: int, horizon: int) -> float:
    """What an average keeps of itself at an update, counted from 0; early ones look back on less than the horizon.

    >>> [decay_at(update, horizon=4) for update in (0, 5, 1000)]
    [0.1, 0.4, 0.75]
    """
    return min(1 - 1 / horizon, (update + 1) / (update + 10))


class Averages:
    """One average of the trainable parameters, float32, for each horizon in updates; buffers stay the run's own.

    Attributes:
        horizons: those whose average follows from the whole run so far.
    """

    def __init__(self, model: nn.Module, horizons: Collection[int]) -> None:
        self._names = [name for name, _ in trainable_parameters(model)] if horizons else []
        self._live = [parameter.detach() for _, parameter in trainable_parameters(model)] if horizons else []
        self._sets = {horizon: [tensor.clone() for tensor in self._live] for horizon in horizons}
        self.horizons = tuple(horizons)

    def update(self, update: int) -> None:
        """Take up the weights as an update (counted from 0) left them; nothing is read back from the device."""
        for horizon, tensors in self._sets.items():
            get_ema_multi_avg_fn(decay_at(update, horizon))(tensors, self._live, None)  # type: ignore[no-untyped-call]

    @contextmanager
    def in_place(self, horizon: int) -> Iterator[None]:
        """The model holds an average inside, and its own weights again after it, bit for bit."""
        own = [tensor.clone() for tensor in self._live]
        torch._foreach_copy_(self._live, self._sets[horizon])
        try:
            yield
        finally:
            torch._foreach_copy_(self._live, own)

    def tensors(self) -> dict[str, torch.Tensor]:
        """The live averages by their names in a full-state file."""
        return {
            f"{AVERAGES_PREFIX}{horizon}.{name}": tensor
            for horizon in self.horizons
            for name, tensor in zip(self._names, self._sets[horizon], strict=True)
        }

    def adopt(self, loaded: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """The tensors of a full-state file without averages of other horizons, to be copied into the live ones.

        A horizon that the file lacks has no past from here on: it is neither kept nor measured, rather than measured as
        another average than that of an uninterrupted run. Files of before there were averages have none.
        """
        found = {int(name.split(".")[1]) for name in loaded if name.startswith(AVERAGES_PREFIX)}
        self.horizons = tuple(horizon for horizon in self._sets if horizon in found)
        ours = tuple(f"{AVERAGES_PREFIX}{horizon}." for horizon in self.horizons)
        return {name: t for name, t in loaded.items() if not name.startswith(AVERAGES_PREFIX) or name.startswith(ours)}
