"""Killed processes: see `kill_faults.py`; here, as many seeds as fit into a few minutes."""

from __future__ import annotations

from pathlib import Path

import pytest
from campaign import Campaign
from kill_faults import CAMPAIGNS

pytestmark = pytest.mark.slow

CASES = [
    pytest.param(campaign, seed, id=f"{campaign.name}-{seed}")
    for campaign in CAMPAIGNS
    for seed in range(campaign.num_ci)
]


@pytest.mark.parametrize(("campaign", "seed"), CASES)
def test_a_killed_study_ends_as_the_undisturbed_one(campaign: Campaign, seed: int, tmp_path: Path) -> None:
    campaign.run(seed, tmp_path)
