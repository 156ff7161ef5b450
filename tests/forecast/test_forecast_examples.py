"""Examples counted before the run: those that training finds where the text can be read, bounds or nothing else."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tuner.config.schema import PythonWorkload, StudyConfig
from tuner.forecast import examples
from tuner.forecast.examples import count_train_examples
from tuner.workloads.text import load_tokens

PROSE = "".join(f"Line {n} of a short text, with words that come again and again.\n" for n in range(200))


def config_of(**workload: Any) -> StudyConfig:
    return StudyConfig.model_validate(
        {
            "study": "counted",
            "workload": {"kind": "causal_lm", "text": "*.txt", "block_size": 16, **workload},
            "budget": {"max_steps": 4000},
            "search_space": "auto",
        }
    )


def trained_on(config: StudyConfig, folder: Path) -> int:
    """Examples as training counts them."""
    from tuner.workloads.causal_lm import CausalLM

    return CausalLM(config.workload, load_tokens(config.workload, folder=folder, cache=folder / "cache")).num_examples(
        "train"
    )


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for number in range(7):
        (tmp_path / f"{number}.txt").write_text(PROSE[: 1000 + 300 * number])
    (tmp_path / "empty.txt").write_text("")
    return tmp_path


@pytest.mark.parametrize(
    "workload",
    [
        {},
        {"text": ("*.txt", "0.txt")},
        {"num_pieces": 3},
        {"split": {"validation": 0.3, "test": 0.2}},
        {"split": {"max_train_tokens": 1000}},
        {"split": {"max_train_tokens": 1_000_000}},
    ],
)
def test_bytes_in_files_are_counted_as_training_counts_them(folder: Path, workload: dict[str, Any]) -> None:
    config = config_of(**workload)
    found = count_train_examples(config, folder=folder)
    assert found.least == found.most == trained_on(config, folder)
    assert found.told == f"{found.most:,} training examples"


def test_a_column_of_a_table_is_counted_too(folder: Path) -> None:
    rows = "".join(f'{n},"{PROSE[:500]}"\n' for n in range(20))
    (folder / "t.csv").write_text("id,body\n" + rows)
    config = config_of(text="t.csv", text_column="body")
    assert count_train_examples(config, folder=folder).most == trained_on(config, folder)


def test_learnt_tokens_and_large_files_have_an_upper_bound(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bpe = config_of(tokenizer="bpe", vocab_size=300)
    found = count_train_examples(bpe, folder=folder)
    assert found.least is None
    assert found.most is not None
    assert trained_on(bpe, folder) <= found.most
    monkeypatch.setattr(examples, "MAX_BYTES_READ", 100)
    for pieces in (1, 5):
        config = config_of(num_pieces=pieces)
        found = count_train_examples(config, folder=folder)
        assert "by the size of the text's files" in found.told
        assert trained_on(config, folder) <= (found.most or 0)
        assert found.least is None


@pytest.mark.parametrize(
    ("workload", "told"),
    [
        ({"text": "nowhere/*.txt"}, "unknown before the run: workload.text=nowhere/*.txt: no file matches"),
        ({"text": "python:no_such_module:texts"}, "unknown before the run: the text is a Python object"),
        ({"text": "t.parquet", "text_column": "body"}, "unknown before the run: compressed tables"),
        (
            {"text": "python:no_such_module:texts", "split": {"max_train_tokens": 161}},
            "at most 10 training examples, by workload.split.max_train_tokens",
        ),
    ],
)
def test_what_cannot_be_counted_is_said_and_not_guessed(folder: Path, workload: dict[str, Any], told: str) -> None:
    (folder / "t.parquet").write_bytes(b"PAR1")
    found = count_train_examples(config_of(**workload), folder=folder)
    assert found.least is None
    assert told in found.told


def test_the_data_of_a_users_own_code_is_unknown() -> None:
    own = PythonWorkload.model_validate({"kind": "python", "class": "missing:Missing"})
    config = config_of().model_copy(update={"workload": own})
    assert "the workload's own code holds its data" in count_train_examples(config, folder=Path()).told


@given(sizes=st.lists(st.integers(0, 400), min_size=3, max_size=12), block=st.integers(2, 20))
@settings(max_examples=25, deadline=None)
def test_any_files_are_counted_as_training_counts_them(
    tmp_path_factory: pytest.TempPathFactory, sizes: list[int], block: int
) -> None:
    folder = tmp_path_factory.mktemp("files")
    for number, size in enumerate(sizes):
        (folder / f"{number:02}.txt").write_text(PROSE[: size + 50])
    config = config_of(block_size=block)
    assert count_train_examples(config, folder=folder).most == trained_on(config, folder)
