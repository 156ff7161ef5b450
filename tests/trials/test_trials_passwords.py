"""A study on PostgreSQL with a password: the password is in no byte that is written, said, or shown by `ps`."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy
from study_processes import Home

from tuner.storage.database import parse_url

POSTGRES = os.environ.get("TUNER_TEST_POSTGRES")

pytestmark = pytest.mark.skipif(not POSTGRES, reason="TUNER_TEST_POSTGRES holds no URL")

CANARY = "canary-Zq7"
"""The test server trusts everybody on this machine, whatever the password."""


def with_password(form: str) -> str:
    url = parse_url(POSTGRES or "").set(drivername="postgresql")
    if form == "query":
        return url.update_query_dict({"password": CANARY}).render_as_string(hide_password=False)
    return url.set(password=CANARY).render_as_string(hide_password=False)


def rows_of(url: str) -> Iterator[str]:
    """Every row of every table, as text."""
    engine = sqlalchemy.create_engine(parse_url(url))
    with engine.connect() as connection:
        for table in sqlalchemy.inspect(connection).get_table_names():
            yield from (str(tuple(row)) for row in connection.execute(sqlalchemy.text(f'SELECT * FROM "{table}"')))
    engine.dispose()


def command_lines_below(pid: int) -> str:
    children = subprocess.run(["pgrep", "-P", str(pid)], capture_output=True, text=True, check=False).stdout.split()
    return "\n".join(Path(f"/proc/{child}/cmdline").read_bytes().decode() for child in children)


@pytest.mark.parametrize("form", ["argument", "query", "environment"])
def test_the_storage_password_is_nowhere(form: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home, url = Home(tmp_path), with_password("query" if form == "query" else "plain")
    study = home.study.read_text().replace("study: tiny", f"study: canary-{form}")
    home.study.write_text(study.replace("max_steps: 640", "max_steps: 320"))
    if form == "environment":
        monkeypatch.setenv("TUNER_STORAGE", url)
    storage = () if form == "environment" else ("--storage", url)
    process = home.start("run", "tiny.yaml", "--workers", "1", *storage)
    assert process.stderr is not None
    said = [process.stderr.readline()]
    assert CANARY not in command_lines_below(process.pid)
    said += process.communicate(timeout=540)
    assert process.returncode in (0, 3), said
    name = f"canary-{form}"
    said += [home.tuner(command, name, *storage) for command in ("status", "trials", "report")]
    if process.returncode == 0:
        said += [home.tuner("answer", name, *storage), home.tuner("export", name, "exported", *storage)]
    assert not [line for line in said if CANARY in line]
    assert not [row for row in rows_of(url) if CANARY in row]
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert {"report.html", "trials.csv"} <= {path.name for path in files}
    assert not [path for path in files if CANARY.encode() in path.read_bytes()]
