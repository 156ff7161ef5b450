"""A damaged database is told in one line and left as it is."""

from __future__ import annotations

import random
import shutil
from pathlib import Path

import pytest
from storage_cases import FakeWorker, make_spec, open_study

from tuner.errors import HomeError
from tuner.storage.store import Store


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("filled")
    store = Store.open(None, home)
    open_study(store, [make_spec(100) for _ in range(5)])
    FakeWorker.next(store).begin().train(100, checkpoints=(50, 100)).end()
    store.close()
    return home / "tuner.db"


def use(home: Path) -> None:
    """What opens and reads all of it."""
    store = Store.open(None, home)
    try:
        for name in store.study_names():
            store.load(name)
            store.bill(name)
    finally:
        store.close()


def test_a_file_that_is_no_database_is_left_as_it_is(filled: Path, tmp_path: Path) -> None:
    path = tmp_path / "tuner.db"
    path.write_bytes(b"\x00" * 100 + filled.read_bytes()[100:])
    before = path.read_bytes()
    with pytest.raises(HomeError, match=r"tuner\.db is not a SQLite database; move that file away, or name another"):
        use(tmp_path)
    assert path.read_bytes() == before


@pytest.mark.parametrize("seed", range(4))
def test_a_database_with_overwritten_pages_is_one_line(filled: Path, tmp_path: Path, seed: int) -> None:
    chance = random.Random(seed)
    path = tmp_path / "tuner.db"
    shutil.copy(filled, path)
    data = bytearray(path.read_bytes())
    for page in chance.sample(range(1, len(data) // 4096), 12):
        data[page * 4096 : (page + 1) * 4096] = chance.randbytes(4096)
    path.write_bytes(data)
    with pytest.raises(HomeError) as caught:
        use(tmp_path)
    assert str(caught.value) == (
        f"database {path} is damaged; restore a copy of it, or name another folder with --home"
    )
    assert path.read_bytes() == bytes(data)


def test_a_database_that_was_cut_short_is_one_line(filled: Path, tmp_path: Path) -> None:
    path = tmp_path / "tuner.db"
    path.write_bytes(filled.read_bytes()[: 4096 * 10])
    with pytest.raises(HomeError, match="is damaged; restore a copy of it"):
        use(tmp_path)
    assert path.stat().st_size == 4096 * 10
