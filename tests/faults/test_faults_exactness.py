"""Runs that share a past equal those that were trained alone; runs that differ share nothing."""

from __future__ import annotations

from pathlib import Path

import pytest
from exactness_faults import CAMPAIGNS

(EXACTNESS,) = CAMPAIGNS


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(EXACTNESS.num_ci))
def test_a_shared_past_changes_no_bit_and_what_differs_is_not_shared(tmp_path: Path, seed: int) -> None:
    EXACTNESS.run(seed, tmp_path)
