"""Runs `tuner` as users do: in processes of its own, in a home folder of its own."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path
from typing import Any

TINY_FOLDER = Path(__file__).parent / "tiny"

TINY = """\
study: tiny
seed: 7
workload: {{kind: python, class: "tiny_workload:Rings", options: {{dropout: 0.1}}}}
training: {{global_batch_size: 16, precision: {precision}, warmup_steps: 5}}
evaluation: {{metric: loss, every_steps: 10}}
budget: {{first_guess_steps: 80, max_steps: 640, perfect_fit: {{metric: loss, at_most: 0.1}}}}
budget_sweep: {{learning_rates: {{low: 2e-3, high: 0.128, num_rates: 4}}}}
search_space: {{learning_rate: {{low: 3e-3, high: 3e-2, scale: log}}}}
round_1: {{num_trials: 5, adjust: raw, max_adjustments: 1, decay_shares: []}}
round_2: {{num_trials: 2, num_seeds: 2, budget_multiple: 2, lower_rate_twin: false}}
execution: {{micro_batch_size: {micro}, checkpoint_every_steps: 20, device: cpu}}
"""


class Home:
    """A folder with one study and everything that running it makes."""

    def __init__(self, folder: Path, *, precision: str = "fp32", micro: int = 16, text: str | None = None) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        for source in TINY_FOLDER.glob("*.py"):
            (folder / source.name).write_text(source.read_text())
        self.study = folder / "tiny.yaml"
        self.study.write_text(text if text is not None else TINY.format(precision=precision, micro=micro))

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        """A `tuner` process leading a process group of its own."""
        return subprocess.Popen(
            [sys.executable, "-m", "tuner", *arguments, "--home", str(self.folder / "runs")],
            cwd=self.folder,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
            env=os.environ | {"NO_COLOR": "1"},
        )

    def tuner(self, *arguments: str, exit_code: int = 0) -> str:
        """The output of a command that must end with `exit_code`."""
        process = self.start(*arguments)
        out, error = process.communicate(timeout=540)
        assert process.returncode == exit_code, f"exit {process.returncode}\n{out}\n{error}"
        return out if exit_code == 0 else error

    def json(self, *arguments: str) -> Any:
        return json.loads(self.tuner(*arguments, "--json"))

    def num_evals(self) -> int:
        """Values measured on data, in `tuner_evals`; 0 while there is no database yet."""
        database = self.folder / "runs" / "tuner.db"
        if not database.exists():
            return 0
        with closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True, timeout=30)) as connection:
            try:
                count = "select count(*) from tuner_evals where split != 'updates'"
                return int(connection.execute(count).fetchone()[0])
            except sqlite3.OperationalError:
                return 0

    def curves(self) -> list[tuple[Any, ...]]:
        """Every evaluation of every trial, in a fixed order."""
        query = "select trial_id, split, metric, global_step, value from tuner_evals order by 1, 2, 3, 4"
        with closing(sqlite3.connect(self.folder / "runs" / "tuner.db")) as connection:
            return connection.execute(query).fetchall()

    def wait_for_evals(self, process: subprocess.Popen[str], count: int) -> bool:
        """Until the study holds `count` evaluations; False if the process ended before."""
        while process.poll() is None:
            if self.num_evals() >= count:
                return True
            time.sleep(0.01)
        return False


def kill_group(process: subprocess.Popen[str]) -> None:
    """kill -9 of the planner and all its workers at once."""
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
