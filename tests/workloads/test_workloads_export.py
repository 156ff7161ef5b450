"""What leaves a study opens elsewhere and is the same model: bits of logits, ids of tokens."""

from __future__ import annotations

import random
import warnings
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_model
from transformers import AutoModelForCausalLM, AutoTokenizer

from tuner.config.schema import CausalLMWorkload, PythonWorkload
from tuner.errors import DataError
from tuner.training.checkpoint import weight_tensors
from tuner.workloads.build import build_workload
from tuner.workloads.byte_tokenizer import byte_characters, save_byte_tokenizer
from tuner.workloads.causal_lm import new_model
from tuner.workloads.export import write_model
from tuner.workloads.text import END_OF_DOCUMENT, Document, _encode

CONFIG = CausalLMWorkload(
    kind="causal_lm",
    text="python:pydoc_data.topics:topics",
    block_size=32,
    model={"hidden_size": 32, "num_layers": 2, "num_heads": 2, "dropout": 0.1},
)


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tokenizer")
    write_model(CONFIG, {}, weights=weight_tensors(new_model(CONFIG)), folder=folder)
    return AutoTokenizer.from_pretrained(folder)


def training_ids(text: str) -> list[int]:
    """A document as training sees it."""
    return _encode(Document(name="d", data=text.encode("utf-8"))).tolist()


def random_text(generator: random.Random) -> str:
    """Any characters that have a UTF-8 form."""
    ranges = [(0, 0x20), (0x20, 0x7F), (0x80, 0xD800), (0xE000, 0x110000)]
    return "".join(chr(generator.randrange(*generator.choice(ranges))) for _ in range(generator.randrange(200)))


def test_exported_tokenizer_gives_the_ids_of_training_for_any_text(tokenizer):
    generator = random.Random(0)
    texts = [random_text(generator) for _ in range(300)]
    texts += [
        "",
        "  two  spaces\r\n\ttab\x00nul\ufeff",
        "".join(map(chr, range(0x250))),
        "ação e\u0301 👍🏽",
        "a" * 3000,
    ]
    for text in texts:
        ids = tokenizer(text, truncation=False).input_ids
        assert [*ids, tokenizer.eos_token_id] == training_ids(text)
        assert tokenizer.decode(ids) == text


def test_name_of_the_end_of_document_in_a_text_is_only_text(tokenizer):
    text = "a<|endoftext|>b"
    assert [*tokenizer(text).input_ids, END_OF_DOCUMENT] == training_ids(text)
    assert tokenizer([text, text]).input_ids[1] == tokenizer(text).input_ids
    assert tokenizer.eos_token_id == tokenizer.bos_token_id == END_OF_DOCUMENT
    assert tokenizer.decode([97, END_OF_DOCUMENT, 98], skip_special_tokens=True) == "ab"


def test_every_byte_has_a_character_of_its_own():
    characters = byte_characters()
    assert len(set(characters.values())) == 256
    assert all(character.isprintable() for character in characters.values())


def test_exported_model_gives_the_logits_of_training_bit_for_bit(tmp_path):
    torch.manual_seed(3)
    model = new_model(CONFIG, dropout=0.2).eval()
    with torch.no_grad():
        for tensor in model.parameters():
            tensor.add_(0.02 * torch.randn_like(tensor))
    write_model(CONFIG, {"dropout": 0.2}, weights=weight_tensors(model), folder=tmp_path)
    opened = AutoModelForCausalLM.from_pretrained(tmp_path)
    workload = build_workload(CONFIG, {}, folder=Path(), cache=tmp_path / "cache")
    inputs = workload.batch("validation", torch.arange(8).numpy())["inputs"]
    with torch.no_grad():
        assert torch.equal(opened(input_ids=inputs).logits, model(input_ids=inputs, use_cache=False).logits)
    assert not opened.training
    assert opened.config.use_cache
    assert opened.lm_head.weight is opened.transformer.wte.weight


def test_exported_model_continues_a_prompt(tmp_path, tokenizer):
    torch.manual_seed(0)
    write_model(CONFIG, {}, weights=weight_tensors(new_model(CONFIG)), folder=tmp_path)
    prompt = tokenizer("The ", return_tensors="pt")
    model = AutoModelForCausalLM.from_pretrained(tmp_path)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        longer = model.generate(**prompt, max_new_tokens=5, do_sample=False)
    assert tokenizer.decode(longer[0]).startswith("The ")
    assert longer.shape[1] > prompt["input_ids"].shape[1]


def test_weights_of_another_model_are_refused(tmp_path):
    weights = weight_tensors(new_model(CONFIG.model_copy(update={"block_size": 64})))
    with pytest.raises(DataError, match=r"another model than workload\.model describes: transformer\.wpe\.weight"):
        write_model(CONFIG, {}, weights=weights, folder=tmp_path)
    weights.pop("transformer.wpe.weight")
    with pytest.raises(DataError, match="another model"):
        write_model(CONFIG, {}, weights=weights, folder=tmp_path)


class Tied(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = torch.nn.Linear(3, 3, bias=False), torch.nn.Linear(3, 3)
        self.second.weight = self.first.weight


def test_model_of_a_users_class_is_plain_safetensors_with_tied_weights_once(tmp_path):
    torch.manual_seed(1)
    trained, fresh = Tied(), Tied()
    config = PythonWorkload(kind="python", **{"class": "gone:Workload"}, options={"width": 3})
    loading = write_model(config, {"dropout": 0.1}, weights=weight_tensors(trained), folder=tmp_path)
    load_model(fresh, tmp_path / "model.safetensors")
    assert torch.equal(fresh.second.weight, trained.second.weight)
    assert torch.equal(fresh.second.bias, trained.second.bias)
    assert "from gone import Workload" in loading
    assert "Workload(**{'dropout': 0.1, 'width': 3})" in loading
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model.safetensors"]


def test_tokenizer_is_written_without_a_model(tmp_path):
    save_byte_tokenizer(tmp_path, model_max_length=16)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["tokenizer.json", "tokenizer_config.json"]
