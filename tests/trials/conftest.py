"""Finished studies that several files look at; tests only read them."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from study_processes import Home


@pytest.fixture(scope="session")
def undisturbed_of(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str, int], Home]:
    """The tiny study run from end to end, by precision and micro-batch; each is run once."""
    homes: dict[tuple[str, int], Home] = {}

    def run(precision: str, micro: int) -> Home:
        if (precision, micro) not in homes:
            home = Home(tmp_path_factory.mktemp("undisturbed"), precision=precision, micro=micro)
            home.tuner("run", "tiny.yaml", "--workers", "2")
            homes[precision, micro] = home
        return homes[precision, micro]

    return run
