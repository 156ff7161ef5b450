"""The order of the tests: those that run whole studies first, so that no worker is left alone with one at the end."""

from __future__ import annotations

import pytest

WHOLE_STUDIES = ("test_trials_same_numbers.py", "test_trials_", "test_cli_export.py", "test_training_resume.py")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    def rank(item: pytest.Item) -> int:
        names = (place for place, name in enumerate(WHOLE_STUDIES) if item.path.name.startswith(name))
        return next(names, len(WHOLE_STUDIES))

    items.sort(key=rank)
