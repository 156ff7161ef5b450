"""Mutated studies never end in a traceback: the first seeds of the campaign (`make faults` does them all)."""

from __future__ import annotations

from pathlib import Path

import pytest
from yaml_faults import CAMPAIGNS, ROOT, check, complaint

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


@pytest.mark.parametrize(
    "override",
    [
        "round_1.max_adjustments=1000000000000",
        "budget_sweep.max_widenings=1000000000000",
        "budget_sweep.learning_rates.num_rates=1000000000000",
        "search_space.learning_rate.num_points=1000000000000",
        "round_2.budget_multiple=1000000000000",
    ],
)
def test_counts_that_would_be_listed_one_by_one_are_bounded(override: str) -> None:
    """Found by mutations: the plan doubled a budget so often, and a grid was listed point by point."""
    code, said = check(ROOT / "studies" / "quickstart.yaml", [override])
    assert code == 2
    assert f"command line: {override.replace('=', ': ')} is out of range; use a " in said


def test_rounds_beyond_any_use_are_refused(tmp_path: Path) -> None:
    text = (ROOT / "studies" / "quickstart.yaml").read_text(encoding="utf-8").partition("round_2:")[0]
    (tmp_path / "study.yaml").write_text(text)
    code, said = check(tmp_path / "study.yaml", [f"rounds=[{', '.join(['{num_trials: 1}'] * 900)}]"])
    assert code == 2
    assert "command line: rounds: 900 rounds are more than 10; one to three are practical, remove some" in said
