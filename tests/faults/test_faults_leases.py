"""Races for trials and workers that stand still: see `lease_faults.py`."""

from __future__ import annotations

from pathlib import Path

import pytest
from campaign import Campaign
from lease_faults import CAMPAIGNS

CASES = [(campaign, seed) for campaign in CAMPAIGNS for seed in range(campaign.num_ci)]


@pytest.mark.slow
@pytest.mark.parametrize(("campaign", "seed"), CASES, ids=[f"{campaign.name}-{seed}" for campaign, seed in CASES])
def test_a_trial_has_one_owner_at_a_time(campaign: Campaign, seed: int, tmp_path: Path) -> None:
    campaign.run(seed, tmp_path)
