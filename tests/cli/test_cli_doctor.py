"""`tuner doctor` on this machine, and on machines made up of files."""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path

import pytest

from tuner.cli import doctor
from tuner.cli.main import run_command_line
from tuner.errors import HomeError
from tuner.forecast.machine import memory_bytes, num_cores, nvidia_card
from tuner.storage import home_check
from tuner.storage.store import Store
from tuner.training import self_test


def examine(capsys: pytest.CaptureFixture[str], *arguments: str, exit_code: int = 0) -> dict[str, dict[str, str]]:
    capsys.readouterr()
    assert run_command_line(["doctor", "--json", *arguments]) == exit_code
    payload = json.loads(capsys.readouterr().out)
    assert payload["can_work"] == (exit_code == 0)
    return {line["name"]: line for line in payload["checks"]}


def test_a_sound_machine_can_work_and_nothing_is_left_behind(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    home = tmp_path / "runs"
    found = examine(capsys, "--home", str(home))
    assert "will be created" in found["home"]["found"]
    assert not home.exists()
    Store.open(None, home).close()
    found = examine(capsys, "--home", str(home))
    assert found["home"]["found"].endswith("private")
    assert "schema 0002" in found["database"]["found"]
    assert found["precisions"]["found"] == "fp32, bf16, fp16 on cpu"
    assert sqlite3.sqlite_version in found["sqlite"]["found"]
    assert sorted(path.name for path in home.iterdir()) == ["tuner.db"]
    assert [path.name for path in tmp_path.iterdir()] == ["runs"]


def test_a_home_open_to_others_is_noted_with_its_remedy(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    home = tmp_path / "runs"
    Store.open(None, home).close()
    home.chmod(0o755)
    (home / "tuner.db").chmod(0o644)
    note = examine(capsys, "--home", str(home))["home"]["note"]
    assert f"chmod 700 {home} && chmod 600 {home / 'tuner.db'}" in note


def test_what_cannot_work_is_exit_2_and_told_in_lines(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "runs"
    file.write_text("a file")
    assert "must be a folder" in examine(capsys, "--home", str(file), exit_code=2)["home"]["problem"]
    assert run_command_line(["doctor", "--home", str(file)]) == 2
    assert "PROBLEM: --home" in capsys.readouterr().out


def test_a_database_that_is_away_is_named_without_its_password(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("psycopg")
    url = "postgresql://me:hunter2@127.0.0.1:1/studies"
    found = examine(capsys, "--home", str(tmp_path), "--storage", url, exit_code=2)
    assert "is away" in found["database"]["problem"]
    assert "hunter2" not in str(found)


def test_a_database_of_a_newer_release_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    store = Store.open(None, tmp_path)
    with store.database.write() as connection:
        connection.exec_driver_sql("UPDATE tuner_alembic_version SET version_num = '9999'")
    store.close()
    assert "update tuner" in examine(capsys, "--home", str(tmp_path), exit_code=2)["database"]["problem"]


def test_a_network_file_system_is_refused_for_sqlite_alone(tmp_path: Path) -> None:
    table = "21 1 8:1 / / rw - nfs4 server:/x rw"
    with pytest.raises(HomeError, match="network file system"):
        home_check.kind_of_file_system(tmp_path, holds_database=True, mountinfo=table)
    assert home_check.kind_of_file_system(tmp_path, holds_database=False, mountinfo=table) == "nfs4"


def test_locks_that_do_not_hold_are_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert home_check.try_locks(tmp_path)
    monkeypatch.setattr(home_check, "_try_to_write", lambda file: 0)
    with pytest.raises(HomeError, match="two processes could write at once"):
        home_check.try_locks(tmp_path)


def test_a_disk_that_makes_nothing_durable_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(descriptor: int) -> None:
        raise OSError(22, "Invalid argument")

    monkeypatch.setattr("os.fsync", fail)
    with pytest.raises(HomeError, match="cannot be made durable there"):
        home_check.try_durable_writes(tmp_path)


def make_pci(root: Path, *, vendor: str, kind: str) -> None:
    folder = root / "sys/bus/pci/devices/0000:01:00.0"
    folder.mkdir(parents=True)
    (folder / "vendor").write_text(f"{vendor}\n")
    (folder / "class").write_text(f"{kind}\n")


def test_a_gpu_that_torch_cannot_use_is_a_problem_with_a_remedy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_pci(tmp_path, vendor="0x10de", kind="0x030000")
    monkeypatch.setattr(self_test, "cuda_devices", list)
    first, *_ = doctor.devices(tmp_path)
    assert "a GPU is present (an NVIDIA card at PCI 0000:01:00.0), but torch has no CUDA" in first.problem
    assert "execution.device=cpu" in first.problem


@pytest.mark.parametrize(("vendor", "kind"), [("0x8086", "0x030000"), ("0x10de", "0x020000")])
def test_other_cards_are_no_gpu_for_cuda(tmp_path: Path, vendor: str, kind: str) -> None:
    make_pci(tmp_path, vendor=vendor, kind=kind)
    assert nvidia_card(tmp_path) is None


def test_the_drivers_name_of_a_gpu_is_told(tmp_path: Path) -> None:
    folder = tmp_path / "proc/driver/nvidia/gpus/0000:01:00.0"
    folder.mkdir(parents=True)
    (folder / "information").write_text("Model: \t NVIDIA T4\nIRQ: 3\n")
    assert nvidia_card(tmp_path) == "NVIDIA T4"


def test_a_containers_limits_count(tmp_path: Path) -> None:
    (tmp_path / "proc/self").mkdir(parents=True)
    (tmp_path / "proc/meminfo").write_text("MemTotal: 8388608 kB\nMemFree: 1 kB\nMemAvailable: 4194304 kB\n")
    assert memory_bytes(tmp_path) == (8 * 2**30, 4 * 2**30)
    own = tmp_path / "sys/fs/cgroup/job/inner"
    own.mkdir(parents=True)
    (tmp_path / "proc/self/cgroup").write_text("0::/job/inner\n")
    (own.parent / "cpu.max").write_text("50000 100000\n")
    (own / "memory.max").write_text(f"{2**30}\n")
    (own / "memory.current").write_text(f"{2**28}\n")
    assert num_cores(tmp_path) == 0.5
    assert memory_bytes(tmp_path) == (2**30, 2**30 - 2**28)


def test_a_precision_that_does_not_work_is_noted_and_fp32_is_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(self_test, "broken_precisions", lambda device: {"fp16": "no such kernel"})
    line = list(doctor.devices())[1]
    assert (line.found, line.note, line.problem) == ("fp32, bf16 on cpu", "fp16 does not work: no such kernel", "")
    monkeypatch.setattr(self_test, "broken_precisions", lambda device: {"fp32": "illegal instruction"})
    assert "reinstall torch" in list(doctor.devices())[1].problem


def test_a_precision_is_tried_for_real(monkeypatch: pytest.MonkeyPatch) -> None:
    assert self_test.broken_precisions("cpu") == {}
    monkeypatch.setattr("torch.optim.SGD.step", lambda self: None)
    assert set(self_test.broken_precisions("cpu")) == {"fp32", "bf16", "fp16"}


@pytest.mark.parametrize(
    ("version", "told"),
    [((3, 40, 1), "3.40.1 can corrupt"), ((3, 50, 7), "releases before it"), ((3, 52, 0), "releases before it")],
)
def test_why_the_journal_is_a_rollback_journal(version: tuple[int, ...], told: str) -> None:
    assert told in doctor.sqlite_line(version).found
