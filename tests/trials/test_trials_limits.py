"""A study of limited hours on real training: rounds slower than the sweep measured still end in time with an answer."""

from __future__ import annotations

import pytest
from study_processes import TINY, Home

from tuner.storage.store import Store

pytestmark = pytest.mark.slow

HOURS = 0.02

SLOWED = """\
import time

from tiny_workload import Rings


class SlowedRings(Rings):
    # The sweep switches dropout off: only the rounds are slow, and nobody measured it.
    def loss_sum(self, model, batch):
        if self.dropout and model.training:
            time.sleep(0.5)
        return super().loss_sum(model, batch)
"""

LIMITED = (
    TINY.format(precision="fp32", micro=16)
    .replace("tiny_workload:Rings", "slowed:SlowedRings")
    .replace("at_most: 0.1}", "at_most: 0.4}")
    .replace("adjust: raw, max_adjustments: 1", "adjust: none")
    + f"limits: {{study_hours: {HOURS}}}\n"
)


def test_a_study_slower_than_measured_ends_in_time(tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("limited")
    home = Home(folder, text=LIMITED)
    (folder / "slowed.py").write_text(SLOWED)
    home.tuner("run", "tiny.yaml", "--workers", "2")
    status = home.json("status", "tiny")
    assert status["state"] == "finished"
    assert status["answer"]["verdict"] == "undecided"
    assert any("are over: the study ends with the best so far" in why for why in home.json("answer", "tiny")["why"])
    store = Store.open(None, folder / "runs", create=False)
    elapsed = store.elapsed_seconds("tiny")
    store.close()
    assert elapsed <= 1.1 * HOURS * 3600
