"""Full disks and locked databases under whole studies."""

from __future__ import annotations

from pathlib import Path

import pytest
from pressure_faults import CAMPAIGNS, pressure


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(CAMPAIGNS[0].num_ci))
def test_a_study_on_a_disk_that_fills_up_ends_as_if_there_had_been_space(seed: int, tmp_path: Path) -> None:
    pressure(seed, tmp_path)
