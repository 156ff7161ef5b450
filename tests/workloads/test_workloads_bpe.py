"""BPE: learnt from the training documents alone, the same each time, and exported with the ids of training."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

import tuner
from tuner.config.schema import CausalLMWorkload, Split
from tuner.errors import DataError
from tuner.training.checkpoint import weight_tensors
from tuner.workloads.bpe import Encoder, kept_merges, learn_merges, merges_to_bytes, vocabulary
from tuner.workloads.build import build_workload, tokenizer_digest
from tuner.workloads.causal_lm import new_model
from tuner.workloads.export import write_model
from tuner.workloads.text import END_OF_DOCUMENT, load_tokens, read_documents, split_documents

TEXT = "python:pydoc_data.topics:topics"
SIZE = 600


def config(text=TEXT, **changes) -> CausalLMWorkload:
    return CausalLMWorkload(
        kind="causal_lm",
        text=text,
        **{
            "tokenizer": "bpe",
            "vocab_size": SIZE,
            "block_size": 16,
            "model": {"hidden_size": 16, "num_layers": 1, "num_heads": 2},
            **changes,
        },
    )


@pytest.fixture(scope="module")
def cache(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module")
def found(cache):
    return load_tokens(config(), folder=cache, cache=cache)


@pytest.fixture(scope="module")
def merges(found, cache):
    return kept_merges(cache, found.tokenizer_digest)


def documents_of(split: str) -> list[bytes]:
    documents = read_documents(TEXT, folder=Path())
    return [documents[number].data for number in split_documents(len(documents), Split())[split]]


def test_merges_come_from_the_training_documents_alone(merges):
    assert merges == learn_merges(documents_of("train"), vocab_size=SIZE)
    assert merges != learn_merges(documents_of("train") + documents_of("validation"), vocab_size=SIZE)


def test_tokens_of_each_split_are_its_documents_encoded(found, merges):
    encoder = Encoder(merges)
    for split in ("train", "validation", "test"):
        expected = [id for data in documents_of(split) for id in [*encoder(data).tolist(), END_OF_DOCUMENT]]
        assert found.tokens[split].tolist() == expected
    assert found.tokens["train"].dtype == np.uint16
    assert max(int(tokens.max()) for tokens in found.tokens.values()) < SIZE
    assert len(found.tokens["train"]) < 0.6 * sum(map(len, documents_of("train")))


def test_vocabulary_has_exactly_the_size_asked_for_and_bytes_keep_their_ids(merges):
    ids = vocabulary(merges)
    assert sorted(ids.values()) == list(range(SIZE))
    assert (ids["a"], ids["<|endoftext|>"]) == (97, END_OF_DOCUMENT)


@pytest.mark.slow
def test_another_process_with_other_threads_learns_the_same(merges):
    code = (
        "import sys; sys.path.insert(0, sys.argv[1]); import test_workloads_bpe as t;"
        "print(t.merges_to_bytes(t.learn_merges(t.documents_of('train'), vocab_size=t.SIZE)).decode())"
    )
    environment = {**os.environ, "PYTHONPATH": str(Path(tuner.__file__).parents[1]), "TOKENIZERS_PARALLELISM": "false"}
    done = subprocess.run(
        [sys.executable, "-c", code, str(Path(__file__).parent)], env=environment, capture_output=True, text=True
    )
    assert done.stdout.strip() == merges_to_bytes(merges).decode(), done.stderr


def test_tokenizer_is_learnt_once_and_named_in_the_recipe(found, cache, monkeypatch):
    monkeypatch.setattr("tuner.workloads.bpe.learn_merges", lambda *_, **__: pytest.fail("learnt again"))
    workload = build_workload(config(), {}, folder=cache, cache=cache)
    digest = found.tokenizer_digest
    assert workload.recipe()["tokenizer"] == {"name": "bpe", "vocab_size": SIZE, "digest": digest}
    assert tokenizer_digest(workload) == digest
    assert workload.build_model().transformer.wte.weight.shape[0] == SIZE
    assert sorted(path.name for path in (cache / found.digest).iterdir()) == [
        "digests.json",
        "merges.json",
        "test.npy",
        "train.npy",
        "validation.npy",
    ]


def test_vocabulary_and_tokenizer_change_the_name_of_the_data(found, cache):
    larger = load_tokens(config(vocab_size=SIZE + 1), folder=cache, cache=cache)
    in_bytes = load_tokens(config(tokenizer="bytes", vocab_size=None), folder=cache, cache=cache)
    assert len({found.digest, larger.digest, in_bytes.digest}) == 3
    assert larger.tokenizer_digest != found.tokenizer_digest
    assert in_bytes.tokenizer_digest is None
    assert (
        tokenizer_digest(build_workload(config(tokenizer="bytes", vocab_size=None), {}, folder=cache, cache=cache))
        == ""
    )


def test_caps_cut_tokens_and_not_what_the_merges_come_from(found, cache):
    cut = load_tokens(config(split=Split(max_train_tokens=500)), folder=cache, cache=cache)
    assert cut.tokens["train"].tolist() == found.tokens["train"][:500].tolist()
    assert cut.tokenizer_digest == found.tokenizer_digest


def test_exported_tokenizer_round_trips_any_text_with_the_ids_of_training(merges, tmp_path):
    torch.manual_seed(0)
    model = new_model(config()).eval()
    write_model(config(), {}, weights=weight_tensors(model), folder=tmp_path, merges=merges)
    tokenizer, encoder = AutoTokenizer.from_pretrained(tmp_path), Encoder(merges)
    generator = random.Random(0)
    ranges = [(0, 0x20), (0x20, 0x7F), (0x80, 0xD800), (0xE000, 0x110000)]
    texts = ["".join(chr(generator.randrange(*generator.choice(ranges))) for _ in range(60)) for _ in range(100)]
    texts += [data.decode()[:2000] for data in documents_of("test")[:20]]
    texts += ["", "  two  spaces\r\n\ttab\x00", "a<|endoftext|>b", "<|endoftext|>", "a" * 500, "👍🏽 e\u0301"]
    for text in texts:
        ids = tokenizer(text, truncation=False).input_ids
        assert ids == encoder(text.encode()).tolist()
        assert tokenizer.decode(ids) == text
    assert (tokenizer.eos_token_id, len(tokenizer)) == (END_OF_DOCUMENT, SIZE)
    assert tokenizer.decode([97, END_OF_DOCUMENT, 98], skip_special_tokens=True) == "ab"
    opened = AutoModelForCausalLM.from_pretrained(tmp_path)
    inputs = torch.tensor([encoder(b"The words of a text that is long").tolist()[:12]])
    with torch.no_grad():
        assert torch.equal(opened(input_ids=inputs).logits, model(input_ids=inputs, use_cache=False).logits)


def test_name_of_the_end_of_document_in_training_text_is_only_text():
    merges = learn_merges([b"<|endoftext|> <|endoftext|> and words " * 50], vocab_size=270)
    ids = Encoder(merges)(b"<|endoftext|>")
    assert END_OF_DOCUMENT not in ids.tolist()


@pytest.mark.slow
def test_more_tokens_than_sixteen_bits_hold_are_kept(tmp_path):
    # 80,000 different words of four letters give more than 65,536 tokens in a second.
    letters = "abcdefghijklmnopqrstuvwxyz"
    words = [f"{a}{b}{c}{d}" for a in letters for b in letters for c in letters for d in letters]
    random.Random(0).shuffle(words)
    (tmp_path / "words.txt").write_text("\n".join(" ".join(words[i : i + 100]) for i in range(0, 300_000, 100)) + "\n")
    study = config("words.txt", num_pieces=10, vocab_size=66_000, block_size=8)
    found = load_tokens(study, folder=tmp_path, cache=tmp_path / "cache")
    tokens = found.tokens["train"]
    assert tokens.dtype == np.uint32
    assert 65_536 < int(tokens.max()) < 66_000
    workload = build_workload(study, {}, folder=tmp_path, cache=tmp_path / "cache")
    batch = workload.batch("train", np.arange(3))
    assert batch["inputs"].dtype == torch.int64
    assert torch.isfinite(workload.loss_sum(workload.build_model(), batch))


def test_text_that_yields_too_few_tokens_says_how_many(tmp_path):
    (tmp_path / "x.txt").write_text("ab ab ab\n" * 40)
    with pytest.raises(DataError, match=r"vocab_size=5000: .* yield only \d+ tokens .* use vocab_size: \d+ or less"):
        load_tokens(config("x.txt", num_pieces=10, vocab_size=5000), folder=tmp_path, cache=tmp_path / "cache")
    assert not list((tmp_path).glob("cache/*"))


def test_a_tokenizer_whose_file_is_gone_is_told(cache):
    with pytest.raises(DataError, match=r"the tokenizer of this study is gone: no merges\.json in .* has digest 000"):
        kept_merges(cache, "0" * 64)
    assert json.loads(merges_to_bytes([("a", "b")])) == {"merges": [["a", "b"]]}


def test_a_damaged_tokenizer_is_learnt_again_and_is_the_same(tmp_path):
    first = load_tokens(config(), folder=tmp_path, cache=tmp_path / "cache")
    path = tmp_path / "cache" / first.digest / "merges.json"
    whole = path.read_bytes()
    path.write_bytes(whole.replace(b"e", b"o", 1))
    again = load_tokens(config(), folder=tmp_path, cache=tmp_path / "cache")
    assert again.tokenizer_digest == first.tokenizer_digest
    assert path.read_bytes() == whole
