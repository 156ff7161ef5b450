"""Mutated studies never end in a traceback: the first seeds of the campaign (`make faults` does them all)."""

from __future__ import annotations

from pathlib import Path

import pytest
from yaml_faults import CAMPAIGNS, complaint

CAMPAIGN = CAMPAIGNS[0]


@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("seed", range(CAMPAIGN.num_ci))
def test_mutated_studies_are_valid_or_told_where_they_are_wrong(seed: int, tmp_path: Path) -> None:
    CAMPAIGN.run(seed, tmp_path)


@pytest.mark.parametrize(
    ("code", "said"),
    [
        (1, "Traceback (most recent call last):\nValueError: x\n"),
        (2, "Traceback (most recent call last):\nValueError: x\n"),
        (2, "tuner: something is wrong\n"),
        (2, "tuner: x.yaml:1: a\x1b[31m\n"),
        (2, "tuner: x.yaml:1: " + "a" * 5000 + "\n"),
        (2, ""),
        (0, "tuner: x.yaml:1: a: 1 is wrong\n"),
    ],
)
def test_the_judge_sees_what_breaks_the_promise(code: int, said: str) -> None:
    assert complaint(code, said, source="x.yaml")


def test_the_judge_lets_clear_lines_pass() -> None:
    assert complaint(2, "tuner: x.yaml:3: budget: null is not allowed\n", source="x.yaml") is None
    assert complaint(2, "tuner: command line: training: given twice\n", source="x.yaml") is None
    assert complaint(0, "tuner: warning: few trials\n", source="x.yaml") is None
