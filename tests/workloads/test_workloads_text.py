"""Text: read by document, split by document, tokenized once; every bad input one clear line."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from tuner.config.schema import CausalLMWorkload, Split
from tuner.errors import ConfigError, DataError, HomeError
from tuner.workloads.build import build_workload
from tuner.workloads.text import END_OF_DOCUMENT, load_tokens, read_documents, split_documents

SPLITS = ("train", "validation", "test")


def config(text="docs/*.txt", **changes) -> CausalLMWorkload:
    return CausalLMWorkload(kind="causal_lm", text=text, **{"block_size": 8, **changes})


@pytest.fixture
def folder(tmp_path) -> Path:
    (tmp_path / "docs").mkdir()
    for number in range(20):
        (tmp_path / f"docs/{number:02}.txt").write_text(f"document {number}: " + "words " * (number + 3))
    return tmp_path


def texts(tokens) -> list[bytes]:
    flat = bytes(0 if token == END_OF_DOCUMENT else token for token in tokens.tolist())
    return flat.split(b"\0")[:-1]


def test_documents_are_split_whole_and_none_is_in_two_splits(folder):
    tokens = load_tokens(config(), folder=folder, cache=folder / "cache").tokens
    parts = {split: texts(tokens[split]) for split in SPLITS}
    assert {split: len(part) for split, part in parts.items()} == {"train": 16, "validation": 2, "test": 2}
    written = {path.read_bytes() for path in (folder / "docs").iterdir()}
    assert set().union(*parts.values()) == written
    assert sum(map(len, parts.values())) == len(written)


def test_the_split_is_random_but_always_the_same():
    first = split_documents(40, Split(validation=0.25, test=0.25))
    assert first == split_documents(40, Split(validation=0.25, test=0.25))
    assert first["validation"] != list(range(10))
    assert sorted(first["train"] + first["validation"] + first["test"]) == list(range(40))


def test_caps_cut_tokens_after_the_split(folder):
    whole = load_tokens(config(), folder=folder, cache=folder / "cache").tokens
    split = Split(max_train_tokens=50, max_validation_tokens=20, max_test_tokens=30)
    cut = load_tokens(config(split=split), folder=folder, cache=folder / "cache").tokens
    assert [len(cut[name]) for name in SPLITS] == [50, 20, 30]
    assert all(np.array_equal(cut[name], whole[name][: len(cut[name])]) for name in SPLITS)


def test_tokens_are_written_once_and_memory_mapped(folder):
    first = load_tokens(config(), folder=folder, cache=folder / "cache")
    files = sorted((folder / "cache" / first.digest).iterdir())
    stamps = [path.stat().st_mtime_ns for path in files]
    second = load_tokens(config(), folder=folder, cache=folder / "cache")
    assert [path.name for path in files] == ["digests.json", "test.npy", "train.npy", "validation.npy"]
    assert [path.stat().st_mtime_ns for path in files] == stamps
    assert second.digest == first.digest
    assert isinstance(second.tokens["train"].base, np.memmap)
    assert not second.tokens["train"].flags.writeable


def test_workers_that_race_for_the_cache_all_get_the_same_tokens(folder):
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda _: load_tokens(config(), folder=folder, cache=folder / "cache"), range(8)))
    assert len({one.digest for one in found}) == 1
    assert [path.name for path in (folder / "cache").iterdir()] == [found[0].digest]
    assert all(np.array_equal(one.tokens["train"], found[0].tokens["train"]) for one in found)


def test_the_digest_follows_text_and_split_but_not_the_names_of_files(folder):
    def digest(**changes):
        return load_tokens(config(**changes), folder=folder, cache=folder / "cache").digest

    first = digest()
    (folder / "docs").rename(folder / "moved")
    assert digest(text="moved/*.txt") == first
    assert digest(text="moved/*.txt", split=Split(max_train_tokens=60)) != first
    (folder / "moved/00.txt").write_text("document zero, changed")
    assert digest(text="moved/*.txt") != first


@pytest.mark.parametrize(
    ("value", "count"), [("{'b': 'two', 'a': 'one'}", 2), ("['one', 'two', '', 'three']", 3), ("'one text'", 1)]
)
def test_texts_of_a_python_module_are_documents(tmp_path, value, count):
    module = f"texts_{count}"
    (tmp_path / f"{module}.py").write_text(f"TEXTS = {value}")
    documents = read_documents(f"python:{module}:TEXTS", folder=tmp_path)
    assert len(documents) == count
    assert documents[0].data.startswith(b"one")


def test_several_entries_are_read_in_order_and_each_file_once(folder):
    documents = read_documents(("docs/05.txt", "docs/0*.txt"), folder=folder)
    assert [Path(document.name).name for document in documents[:2]] == ["05.txt", "00.txt"]
    assert len(documents) == 10


@pytest.mark.parametrize(
    ("text", "error", "message"),
    [
        ("nothing/*.txt", DataError, r"workload\.text=nothing/\*\.txt: no file matches in .*relative to the study"),
        ("docs/", DataError, r"workload\.text=docs/ is a folder; name its files, for example 'docs/\*'"),
        ("empty/*.txt", DataError, r"workload\.text=empty/\*\.txt holds no text: 2 documents, all empty"),
        (
            "docs/00.txt",
            DataError,
            r"holds one document; .* at least 3: cut each into pieces with workload.num_pieces",
        ),
        (("docs/00.txt", "docs/01.txt"), DataError, r"holds 2 documents; .* need at least 3"),
        ("latin.txt", DataError, r"latin\.txt is not UTF-8 at byte 3; convert it"),
        ("python:pydoc_data.topics", ConfigError, r"write python:module:attribute"),
        ("python:no_such_module:texts", ConfigError, r"there is no module no_such_module in .* the environment"),
        ("python:pydoc_data.topics:nope", ConfigError, r"module pydoc_data\.topics has no 'nope'"),
        ("python:math:pi", DataError, r"must be a str, a list of str or a dict of str"),
    ],
)
def test_text_that_cannot_be_used_is_one_clear_line(folder, text, error, message):
    (folder / "empty").mkdir()
    (folder / "empty/a.txt").touch()
    (folder / "empty/b.txt").touch()
    (folder / "latin.txt").write_bytes("añb".encode() + "ñ".encode("latin-1"))
    message = message.replace("byte 3", "byte 4")
    with pytest.raises(error, match=message) as caught:
        load_tokens(config(text=text), folder=folder, cache=folder / "cache")
    assert "\n" not in str(caught.value)


def test_too_little_text_for_one_block_names_the_split(folder):
    with pytest.raises(DataError, match=r"the validation split has \d+ tokens in 2 documents; .*block_size=600"):
        load_tokens(config(block_size=600), folder=folder, cache=folder / "cache")


def test_shares_that_leave_no_training_documents_are_refused(folder):
    split = Split(validation=0.6, test=0.5)
    with pytest.raises(DataError, match=r"validation=0.6 and test=0.5 take 12 \+ 10 of 20 documents"):
        load_tokens(config(split=split), folder=folder, cache=folder / "cache")


def test_a_cache_that_cannot_be_written_is_the_homes_fault(folder):
    (folder / "cache").write_text("a file where a folder should be")
    with pytest.raises(HomeError, match=r"token cache .* cannot be written"):
        load_tokens(config(), folder=folder, cache=folder / "cache")


def test_examples_are_neighbouring_blocks_with_targets_shifted_by_one(folder):
    workload = build_workload(config(), {}, folder=folder, cache=folder / "cache")
    tokens = load_tokens(config(), folder=folder, cache=folder / "cache").tokens["train"].astype(np.int64)
    count = workload.num_examples("train")
    assert count == (len(tokens) - 1) // 8
    batch = workload.batch("train", np.arange(count))
    assert batch["inputs"].flatten().tolist() == tokens[: 8 * count].tolist()
    assert batch["targets"].flatten().tolist() == tokens[1 : 8 * count + 1].tolist()
    assert workload.num_targets(batch) == 8 * count


def test_dropout_is_the_language_models_only_option(folder):
    def build(options):
        return build_workload(config(), options, folder=folder, cache=folder / "cache")

    assert build({"dropout": 0.2}).recipe()["model"]["dropout"] == 0.2
    assert build({"dropout": 0.0}).recipe() == build({}).recipe()
    assert build({"dropout": 0.2}).build_model().config.attn_pdrop == 0.2
    with pytest.raises(ConfigError, match=r"dropuot=0\.1: causal_lm has no such option; did you mean dropout\?"):
        build({"dropuot": 0.1})
    with pytest.raises(ConfigError, match=r"dropout=1\.5 is not a rate"):
        build({"dropout": 1.5})


@pytest.mark.parametrize("name", ["train.npy", "validation.npy", "digests.json"])
@pytest.mark.parametrize("kind", ["flip", "truncate", "delete"])
def test_a_damaged_token_cache_is_made_again_and_not_trained_on(folder, name, kind):
    first = load_tokens(config(), folder=folder, cache=folder / "cache")
    path = folder / "cache" / first.digest / name
    data = bytearray(path.read_bytes())
    if kind == "delete":
        path.unlink()
    elif kind == "truncate":
        path.write_bytes(data[: len(data) // 2])
    else:
        data[-20] ^= 1
        path.write_bytes(data)
    again = load_tokens(config(), folder=folder, cache=folder / "cache")
    assert again.digest == first.digest
    for split, tokens in first.tokens.items():
        assert (again.tokens[split] == np.load(folder / "cache" / first.digest / f"{split}.npy")).all()
        assert len(tokens) == len(again.tokens[split])
    fresh = load_tokens(config(), folder=folder, cache=folder / "other")
    assert all((fresh.tokens[split] == again.tokens[split]).all() for split in fresh.tokens)
    assert [entry.name for entry in (folder / "cache").iterdir()] == [first.digest], "nothing is left beside it"
