"""Failpoints: every durable operation has its two places, under names that can be asked for."""

from __future__ import annotations

import ast
import errno
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from failpoint_faults import NUM_CI, make, single
from lives import Life

import tuner
from tuner import failpoints
from tuner.cli.main import run_command_line
from tuner.errors import ConfigError, TryAgainLater
from tuner.failpoints import NAMES, ONCE_VARIABLE, TRANSACTIONS, VARIABLE, FaultInjected, failpoint, faults_of

PACKAGE = Path(tuner.__file__).parent


def placed() -> Iterator[str]:
    """The names at which the package's source passes a failpoint; a transaction passes two."""
    for path in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not isinstance(node, ast.Call):
                continue
            called = ast.unparse(node.func)
            if called == "failpoint" and path.name != "database.py":
                yield ast.literal_eval(node.args[0])
            elif called.endswith("database.write"):
                assert node.args, f"{path}:{node.lineno}: name the transaction, for its failpoints"
                name = ast.unparse(node.args[0]).removeprefix("f").strip("'")
                for kind in ("planner", "trial") if "{lease.kind}" in name else ("",):
                    yield from (f"{name.replace('{lease.kind}', kind)}.{when}" for when in ("before", "after"))


@pytest.fixture(autouse=True)
def _fresh_counts() -> Iterator[None]:
    failpoints._passed.clear()
    yield
    failpoints._passed.clear()


def test_every_transaction_and_durable_file_has_its_failpoints_and_no_name_is_idle() -> None:
    assert sorted(placed()) == sorted(NAMES)


def test_no_transaction_is_written_around_the_failpoints() -> None:
    # Whoever writes, writes through Database.write; nothing else in the package commits.
    writers = [path for path in PACKAGE.rglob("*.py") if ".commit(" in path.read_text(encoding="utf-8")]
    assert [path.name for path in writers] == ["database.py"]
    assert {name.partition(".")[0] for name in NAMES} >= set(TRANSACTIONS)


def test_only_the_asked_for_passing_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, "claim.after:2:raise,apply.before:1:enospc")
    failpoint("claim.after")
    with pytest.raises(FaultInjected):
        failpoint("claim.after")
    failpoint("claim.after")
    with pytest.raises(OSError, match=r"apply\.before") as full:
        failpoint("apply.before")
    assert full.value.errno == errno.ENOSPC


def test_a_fault_that_may_happen_once_happens_in_the_first_process_alone(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv(VARIABLE, "claim.after:1:raise")
    monkeypatch.setenv(ONCE_VARIABLE, str(tmp_path))
    with pytest.raises(FaultInjected):
        failpoint("claim.after")
    failpoints._passed.clear()  # As in another process.
    failpoint("claim.after")
    assert [file.name for file in tmp_path.iterdir()] == ["claim.after.1.raise"]


def test_without_the_variable_nothing_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)
    failpoint("claim.after")
    assert not failpoints._passed


def test_kill_is_a_kill() -> None:
    code = "from tuner.failpoints import failpoint; failpoint('claim.after'); print('alive')"
    environment = {**os.environ, VARIABLE: "claim.after:1:kill"}
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, env=environment, cwd=PACKAGE.parent)
    assert (ended.returncode, ended.stdout) == (-9, b"")


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("claim.after", "write name:hit:action"),
        ("claim.after:0:kill", "counted from 1"),
        ("claim.during:1:kill", "there is no failpoint claim.during"),
        ("claim.after:1:explode", "there is no action explode"),
        ("claim.after:1:kill:now", "write name:hit:action"),
    ],
)
def test_a_fault_that_cannot_be_is_refused_in_one_line_at_the_start(
    text: str, told: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(ConfigError):
        faults_of(text)
    monkeypatch.setenv(VARIABLE, text)
    assert run_command_line(["schema"]) == 2
    out, error = capsys.readouterr()
    assert out == ""
    assert error.startswith(f"tuner: {VARIABLE}={text}: ")
    assert told in error
    assert error.count("\n") == 1


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(NUM_CI))
def test_killed_at_every_failpoint_a_study_ends_as_if_nothing_had_been(seed: int, tmp_path: Path) -> None:
    single(seed, tmp_path)


@pytest.mark.parametrize("action", ["raise", "enospc"])
@pytest.mark.parametrize("point", [name for name in NAMES if name.partition(".")[0] in ("cache", "report", "export")])
def test_a_file_that_could_not_be_written_is_not_there_and_can_be_written_again(
    point: str, action: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kind = point.partition(".")[0]
    monkeypatch.setenv(VARIABLE, f"{point}:1:{action}")
    with pytest.raises((FaultInjected, OSError, TryAgainLater)):
        make(kind, str(tmp_path))
    left = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert all(path.name in ("whole", "merges.json", "train_sample.npy", "digests.json") for path in left), left
    assert bool(left) == point.endswith("after_rename")
    monkeypatch.delenv(VARIABLE)
    if not left:
        make(kind, str(tmp_path))


@pytest.mark.slow
@pytest.mark.parametrize("point", [name for name in NAMES if name.partition(".")[0] in ("cache", "report", "export")])
def test_a_file_whose_writer_was_killed_is_whole_or_not_there(point: str, tmp_path: Path) -> None:
    kind = point.partition(".")[0]
    life = Life(
        [kind, str(tmp_path)],
        folder=tmp_path,
        entry="failpoint_faults:make",
        environment={VARIABLE: f"{point}:1:kill"},
    )
    assert life.wait() == -9
    named = {"report": "report/whole", "export": "export/whole", "cache": "cache/train_sample.npy"}[kind]
    assert (tmp_path / named).exists() == point.endswith("after_rename")
