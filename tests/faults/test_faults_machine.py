"""Nothing is lost or doubled whatever happens in whatever order; and the machine that says so finds planted bugs."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from machine_faults import CAMPAIGNS, NUM_RULES_CI, run_examples
from sqlalchemy import select
from sqlalchemy.exc import IntegrityError

from tuner.storage import checkpoints, claims, evaluations, leases

pytestmark = pytest.mark.slow
(CAMPAIGN,) = CAMPAIGNS


@pytest.mark.parametrize("seed", range(CAMPAIGN.num_ci))
def test_no_order_of_events_breaks_a_promise(seed: int, tmp_path: Path) -> None:
    run_examples(seed, tmp_path, num_rules=NUM_RULES_CI)


def _fence_nothing(connection: Any, lease: Any) -> Any:
    table = leases._table(lease.kind)
    return connection.execute(select(table).where(table.c.id == lease.id)).one()


def _take_without_comparing(connection: Any, row: Any, *, kind: Any, owner: Any, at: float) -> Any:
    table = leases._table(kind)
    found = connection.execute(select(table.c.lease_epoch).where(table.c.id == row.id)).scalar_one()
    return TAKE(connection, SimpleNamespace(id=row.id, lease_epoch=found), kind=kind, owner=owner, at=at)


TAKE = leases.take
PLANTED = {
    "fence": [(leases, "fence", _fence_nothing), (claims, "fence", _fence_nothing)],
    "pin": [(checkpoints, "pin", lambda connection, trial, files: None)],
    "delete-beyond": [(evaluations, "delete_beyond", lambda connection, trial, step: None)],
    "compare-and-set": [(module, "take", _take_without_comparing) for module in (leases, claims)],
}


@pytest.mark.parametrize("bug", PLANTED)
def test_a_planted_bug_is_found_within_the_examples_of_the_tests(
    bug: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module, name, replacement in PLANTED[bug]:
        monkeypatch.setattr(module, name, replacement)
    with pytest.raises((AssertionError, IntegrityError)):
        _run_all(tmp_path)


def _run_all(folder: Path) -> None:
    for seed in range(CAMPAIGN.num_ci):
        run_examples(seed, folder, num_rules=NUM_RULES_CI)
