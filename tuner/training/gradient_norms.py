"""Gradient norms before clipping, over the latest updates of a run.

The one rule: the window is a fixed number of updates, never what lies between two evaluations. So its summary at a step
is a function of (recipe, step) alone, and a resumed or forked run, whatever its cadence, tells the same (D1, D7).
"""

from __future__ import annotations

from typing import Final

import numpy as np
import torch

WINDOW: Final = 100
"""Updates that a summary looks back on: few enough to follow a run, enough for a 90th percentile."""

PERCENTILE: Final = 90
"""The playbook's threshold for clipping is this percentile of the unclipped norms."""


class GradientNorms:
    """The norms of the latest updates, on the device; an update that has not come yet is NaN.

    Attributes:
        window: float32, shape (WINDOW,), update s at s % WINDOW; part of a checkpoint.
    """

    def __init__(self, device: torch.device) -> None:
        self.window = torch.full((WINDOW,), torch.nan, dtype=torch.float32, device=device)

    def record(self, update: int, norm: torch.Tensor) -> None:
        """Keep the norm of an update; nothing is read back from the device."""
        self.window[update % WINDOW].copy_(norm)

    def of(self, update: int) -> torch.Tensor:
        """The norm of one of the latest updates, on the device."""
        return self.window[update % WINDOW]

    def summary(self, global_step: int, max_grad_norm: float | None) -> dict[str, float]:
        """After `global_step` updates: the latest norm, the 90th percentile, and the share of updates that was clipped.

        Waits for the device, once. Norms that are not finite (an update that the fp16 scaler skipped) are left out;
        without a finite one there is nothing to tell.
        """
        norms = self.window.cpu().numpy().astype(np.float64)
        finite = norms[np.isfinite(norms)]
        if not len(finite):
            return {}
        values = {"grad_norm_p90": float(np.percentile(finite, PERCENTILE))}
        if np.isfinite(latest := norms[(global_step - 1) % WINDOW]):
            values["grad_norm"] = float(latest)
        if max_grad_norm is not None:
            values["clipped_share"] = float(np.mean(finite > max_grad_norm))
        return values
