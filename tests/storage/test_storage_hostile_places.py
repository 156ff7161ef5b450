"""Passwords, paths and rights of what is opened: no secret is shown, no name leaves its place, nothing is left open."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest
from sqlalchemy import make_url

from tuner.errors import HomeError, TryAgainLater, UserError
from tuner.storage.file_system import read_by_others
from tuner.storage.passwords import told_command, without_password
from tuner.storage.paths import HomePaths, folder_name
from tuner.storage.store import Store

URLS = [
    "postgresql://me:canary@localhost:1/studies",
    "postgresql://me:can%2Fcanary@localhost:1/studies",
    "postgresql://me:%63anary@localhost:1/studies",
    "postgresql://localhost:1/studies?user=me&password=canary",
    "postgresql://me:canary@localhost:1/studies?nonsense=1",
    "postgresql://localhost:1/studies?sslmode=bogus&sslpassword=canary",
    "postgresql://me:two@canary@localhost:1/studies",
    "postgresql://me:a@canary/b@localhost/studies",
    "postgresql://me:canary@localhost:port/studies",
    "postgresql://me:canary@[::1/studies",
    "postgres//me:canary@localhost/studies",
    "me:canary@localhost/studies",
    "host=localhost password=canary",
    "sqlite://me:canary@localhost/",
    "sqlite:///:memory:?password=canary",
    "mysql://me:canary@localhost/studies",
]


@pytest.mark.parametrize("url", URLS)
def test_no_refusal_shows_the_password(url: str, tmp_path: Path) -> None:
    pytest.importorskip("psycopg", reason="the driver of PostgreSQL is not installed")
    with pytest.raises((UserError, TryAgainLater)) as caught:
        Store.open(url, tmp_path / "runs")
    assert "canary" not in str(caught.value)
    assert "canary" not in without_password(url)


@pytest.mark.parametrize("url", URLS)
def test_no_kept_command_holds_the_password(url: str) -> None:
    for arguments in (["run", "x.yaml", "--storage", url, "--workers", "2"], ["run", f"--storage={url}", "x.yaml"]):
        told = told_command(arguments)
        assert "canary" not in told
        assert told.startswith("tuner run ")
        assert "x.yaml" in told


def test_a_kept_command_can_be_pasted_into_a_shell() -> None:
    assert told_command(["run", "my study.yaml", "a=[1, 2]"]) == "tuner run 'my study.yaml' 'a=[1, 2]'"
    assert told_command(["report", "x", "--out", "caf\udce9"]) == "tuner report x --out 'caf\\udce9'"


HOMES = ["a?b", "a%41b", "a#b @\n\u202e", ":memory:"]


@pytest.mark.parametrize("name", HOMES)
def test_the_database_lies_in_the_home_folder_whatever_that_is_called(name: str, tmp_path: Path) -> None:
    store = Store.open(None, tmp_path / name)
    store.create_study("x", config="{}", folder="", command="")
    assert make_url(store.url).database == str(tmp_path / name / "tuner.db")
    store.close()
    assert os.listdir(tmp_path) == [name]
    assert (tmp_path / name / "tuner.db").stat().st_size > 0


def test_a_home_that_is_not_named_in_utf_8_is_refused_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(HomeError, match=r"--home: the path .*udcff.* is not UTF-8; name another folder"):
        Store.open(None, tmp_path / "x\udcff")


NAMES = [
    *(
        "../../etc/passwd",
        "..",
        ".",
        "",
        "a/b",
        "a\\b",
        "a\0b",
        "a\nb",
        "\u202eabc",
        "x" * 300,
        "X" * 300,
        "\U0001f600",
    ),
    *("CON", "-rf", "%s", "'; DROP TABLE x; --", '"', "a", "A", "a ", "caf\u00e9", "cafe\u0301", "$(rm)", "~"),
]


def test_folders_of_names_stay_in_the_home_and_never_meet(tmp_path: Path) -> None:
    paths = HomePaths(tmp_path)
    folders = [paths.tensorboard(name, "round_1", 0) for name in NAMES]
    folders += [paths.tensorboard("x", name, 0) for name in NAMES]
    folders += [paths.checkpoint(name, 1, global_step=1, kind="full", epoch=1) for name in NAMES]
    assert all(folder.resolve().is_relative_to(tmp_path) for folder in folders)
    assert len({str(folder).lower() for folder in folders}) == 3 * len(NAMES)
    assert all(len(os.fsencode(folder_name(name))) < 60 and folder_name(name).isascii() for name in NAMES)


def test_an_existing_home_keeps_its_rights_and_what_is_written_into_it_is_private(tmp_path: Path) -> None:
    home = tmp_path / "runs"
    home.mkdir()
    home.chmod(0o755)
    Store.open(None, home).close()
    assert stat.S_IMODE(home.stat().st_mode) == 0o755
    assert stat.S_IMODE((home / "tuner.db").stat().st_mode) == 0o600
    for name in ("checkpoints", "data", "tensorboard"):
        assert stat.S_IMODE((home / name).stat().st_mode) == 0o700


def test_a_database_that_others_may_read_is_left_so_and_known(tmp_path: Path) -> None:
    Store.open(None, tmp_path).close()
    assert not read_by_others(tmp_path / "tuner.db")
    (tmp_path / "tuner.db").chmod(0o644)
    Store.open(None, tmp_path).close()
    assert read_by_others(tmp_path / "tuner.db")
    assert not read_by_others(tmp_path / "nothing")
