"""Checkpoint files that were damaged are noticed, never used, and cost nothing but time."""

from __future__ import annotations

from pathlib import Path

import pytest
from damage_faults import CAMPAIGNS

(DAMAGED,) = CAMPAIGNS


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(DAMAGED.num_ci))
def test_a_damaged_checkpoint_is_noticed_and_never_used(tmp_path: Path, seed: int) -> None:
    DAMAGED.run(seed, tmp_path)
