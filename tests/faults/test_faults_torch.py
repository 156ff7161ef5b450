"""The group killed while torch trains: see `torch_faults.py`; kills at more moments are in tests/trials."""

from __future__ import annotations

from pathlib import Path

import pytest
from torch_faults import CAMPAIGNS


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(CAMPAIGNS[0].num_ci))
def test_a_killed_study_of_real_models_ends_with_the_same_digests(seed: int, tmp_path: Path) -> None:
    CAMPAIGNS[0].run(seed, tmp_path)
