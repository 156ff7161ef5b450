"""No step is done twice where every fork follows from the settings: see `plan_faults.py`."""

from __future__ import annotations

from pathlib import Path

import pytest
from plan_faults import CAMPAIGNS

(PLANS,) = CAMPAIGNS
FAST, SLOW = (7, 22), (0, 1, 4, 12)
"""Seeds: without a frontier, and with one."""


@pytest.mark.parametrize("seed", [*FAST, *(pytest.param(seed, marks=pytest.mark.slow) for seed in SLOW)])
def test_no_step_is_done_twice_where_every_fork_is_known_beforehand(seed: int, tmp_path: Path) -> None:
    PLANS.run(seed, tmp_path)
