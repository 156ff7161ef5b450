"""A killed worker is told to have lacked memory only if the kernel counted that."""

from __future__ import annotations

from pathlib import Path

from tuner.engines.memory_kills import num_memory_kills
from tuner.engines.pool import how_it_died


def groups(folder: Path, text: str, counters: dict[str, str]) -> int | None:
    (folder / "cgroup").write_text(text)
    for name, content in counters.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(content)
    return num_memory_kills(folder / "cgroup", folder / "sys")


def test_version_2_counts_the_kills_of_this_group(tmp_path: Path) -> None:
    events = "low 0\nhigh 3\nmax 12\noom 4\noom_kill 2\noom_group_kill 0\n"
    assert groups(tmp_path, "0::/user/job\n", {"sys/user/job/memory.events": events}) == 2


def test_in_a_container_the_group_is_mounted_as_the_root(tmp_path: Path) -> None:
    assert groups(tmp_path, "0::/docker/abc\n", {"sys/memory.events": "oom_kill 5\n"}) == 5


def test_version_1_counts_beside_an_empty_version_2(tmp_path: Path) -> None:
    control = "oom_kill_disable 0\nunder_oom 0\noom_kill 1\n"
    text = "0::/\n9:cpu,memory:/job\n2:cpuset:/\n"
    assert groups(tmp_path, text, {"sys/memory/job/memory.oom_control": control}) == 1


def test_without_a_counter_nothing_is_claimed(tmp_path: Path) -> None:
    assert groups(tmp_path, "0::/\n", {}) is None
    assert num_memory_kills(tmp_path / "none", tmp_path) is None
    assert how_it_died(-9, None, None) == "was killed (signal 9)"
    assert how_it_died(-9, 3, 3) == "was killed (signal 9)"
    assert how_it_died(-15, 3, 4) == "was killed (signal 15)"


def test_a_counted_kill_is_memory(tmp_path: Path) -> None:
    assert how_it_died(-9, 3, 4) == (
        "was killed because memory ran out (lower execution.micro_batch_size or execution.workers)"
    )
