"""A whole study on PostgreSQL gives the numbers of the same study on SQLite."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from study_processes import Home

POSTGRES = os.environ.get("TUNER_TEST_POSTGRES")

pytestmark = pytest.mark.skipif(not POSTGRES, reason="TUNER_TEST_POSTGRES holds no URL")

SAME = ("phase", "number", "params", "outcome", "last_step", "best_step", "best_value", "weights_digest")


def test_a_study_on_postgresql_equals_the_one_on_sqlite(tmp_path: Path) -> None:
    on_sqlite, on_postgres = Home(tmp_path / "sqlite"), Home(tmp_path / "postgres")
    storage = ("--storage", POSTGRES or "")
    on_sqlite.tuner("run", "tiny.yaml", "--workers", "1")
    on_postgres.tuner("run", "tiny.yaml", "--workers", "2", *storage)

    def compared(home: Home, *options: str) -> list[dict[str, Any]]:
        trials = home.json("trials", "tiny", *options)
        # Ids go on from whatever else this server holds.
        place = {trial["trial"]: (trial["phase"], trial["number"]) for trial in trials}
        return [
            {key: trial[key] for key in SAME}
            | {"forked_from": (fork := trial["forked_from"]) and (place[fork["trial"]], fork["step"])}
            for trial in trials
        ]

    assert compared(on_postgres, *storage) == compared(on_sqlite)
    assert not (on_postgres.folder / "runs" / "tuner.db").exists()
