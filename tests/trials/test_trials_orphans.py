"""A worker whose parent is gone leaves, whatever it is in the midst of, and nothing that it did is done twice."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import pytest
from study_processes import Home

pytestmark = pytest.mark.slow

HANGING = """

class Hanging(Rings):
    \"\"\"Its evaluation hangs for good once a file says so.\"\"\"

    def batch(self, split, indices):
        import time
        from pathlib import Path

        while split != "train" and Path("hang").exists():
            Path("hangs").touch()
            time.sleep(0.05)
        return super().batch(split, indices)
"""


def workers_of(pid: int) -> list[int]:
    """Processes that a planner spawned for its trials."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            parent = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
            command = (folder / "cmdline").read_bytes()
        except OSError:
            continue
        if parent == pid and b"spawn_main" in command:
            found.append(int(folder.name))
    return found


def is_alive(pid: int) -> bool:
    try:
        return (Path("/proc") / str(pid) / "stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="needs /proc")
def test_worker_in_an_evaluation_that_hangs_leaves_when_its_planner_was_killed(tmp_path: Path) -> None:
    home = Home(tmp_path)
    source = (tmp_path / "tiny_workload.py").read_text() + HANGING
    (tmp_path / "tiny_workload.py").write_text(source)
    home.study.write_text(home.study.read_text().replace(":Rings", ":Hanging"))
    planner = home.start("run", "tiny.yaml", "--workers", "1")
    assert home.wait_for_evals(planner, 20)
    (tmp_path / "hang").touch()
    while not (tmp_path / "hangs").exists():
        assert planner.poll() is None
        time.sleep(0.01)
    workers = workers_of(planner.pid)
    assert workers
    os.kill(planner.pid, signal.SIGKILL)
    while any(map(is_alive, workers)):
        time.sleep(0.05)
    planner.communicate()
    (tmp_path / "hang").unlink()
    num_evals = home.num_evals()
    again = home.start("resume", "tiny", "--workers", "1")
    assert home.wait_for_evals(again, num_evals + 20), "its trial is taken up at once"
    os.killpg(again.pid, signal.SIGINT)
    again.communicate(timeout=300)
    assert home.json("verify", "tiny")
