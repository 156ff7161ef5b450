"""For tests of what a report says: its figures are drawn, but not rendered, which is most of its cost."""

from __future__ import annotations

import pytest

from tuner.report.canvas import new_figure, png


@pytest.fixture
def unrendered(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every figure as a blank one. `test_report_figures.py` and the page of the quickstart look at rendered ones."""
    blank = png(new_figure(1.0, width=1.0))
    monkeypatch.setattr("tuner.report.build.png", lambda figure: blank)
