"""A small valid study for the tests of the config layer, as text that a test changes by one line."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from tuner.config.load import LoadedStudy, load_study
from tuner.errors import ConfigError

STUDY = """\
study: small
workload:
  kind: causal_lm
  text: python:pydoc_data.topics:topics
  model:
    hidden_size: 64
    num_heads: 2
training:
  optimizer: adamw
budget:
  first_guess_steps: 500
  max_steps: 4000
  perfect_fit: {metric: loss, at_most: 1.2}
search_space:
  learning_rate: {low: 1e-3, high: 1e-2, scale: log}
"""

CLASSIFIER = """\
study: digits
workload:
  kind: python
  class: digits:Digits
  options: {hidden_size: 64, layers: [1, 2.0, true], name: null}
evaluation:
  metric: error
budget:
  max_steps: 4000
search_space:
  learning_rate: {low: 1e-3, high: 1e-2, scale: log}
  width: {choices: [16, 32]}
"""


def load(folder: Path, text: str = STUDY, overrides: Sequence[str] = ()) -> LoadedStudy:
    """Load `text` as the file x.yaml."""
    path = folder / "x.yaml"
    path.write_text(text, encoding="utf-8")
    return load_study(path, overrides)


def complaints(folder: Path, text: str = STUDY, overrides: Sequence[str] = ()) -> list[str]:
    """The lines of the error, each beginning with `x.yaml` or `command line`."""
    with pytest.raises(ConfigError) as caught:
        load(folder, text, overrides)
    return [line.replace(f"{folder}/", "") for line in str(caught.value).splitlines()]


def changed(old: str, new: str, text: str = STUDY) -> str:
    """The study with one piece of its text replaced."""
    assert text.count(old) == 1, old
    return text.replace(old, new)
