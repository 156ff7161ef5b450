"""A home folder with a finished study, for the commands that read."""

from __future__ import annotations

from pathlib import Path

import pytest
from stored_studies import keep_study

from sample_studies import make_config, quickstart_study  # isort: skip


@pytest.fixture(scope="session")
def stored_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home folder with the finished study `quickstart`; tests only read it."""
    home = tmp_path_factory.mktemp("stored") / "runs"
    keep_study(home, quickstart_study(), make_config())
    return home
