"""GPT-2 and Llama from the same settings: what each does with them, and that old recipes keep their names."""

from __future__ import annotations

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from tuner.config.schema import CausalLMWorkload
from tuner.errors import ConfigError
from tuner.training.checkpoint import weight_tensors
from tuner.workloads.build import build_workload, regularisers_off, workload_hyperparameters
from tuner.workloads.causal_lm import new_model
from tuner.workloads.export import write_model


def config(**model) -> CausalLMWorkload:
    return CausalLMWorkload(
        kind="causal_lm",
        text="python:pydoc_data.topics:topics",
        block_size=16,
        model={"hidden_size": 32, "num_layers": 2, "num_heads": 4, **model},
        split={"max_train_tokens": 8000, "max_validation_tokens": 2000, "max_test_tokens": 2000},
    )


def llama(**model) -> CausalLMWorkload:
    return config(architecture="llama", **model)


def test_recipe_of_a_gpt2_holds_what_it_always_held(tmp_path):
    recipe = build_workload(config(), {}, folder=tmp_path, cache=tmp_path).recipe()
    fixed = {name: value for name, value in recipe.items() if name not in ("data", "versions")}
    sizes = {
        "hidden_size": 32,
        "intermediate_size": 128,
        "max_position_embeddings": 16,
        "num_heads": 4,
        "num_layers": 2,
    }
    assert fixed == {
        "kind": "causal_lm",
        "version": 1,
        "tokenizer": "bytes",
        "block_size": 16,
        "model": {"architecture": "gpt2", "dropout": 0.0, **sizes},
        "attention": "sdpa",
        "metrics": ["loss"],
    }


def test_llama_is_transformers_own_with_the_sizes_of_the_study(tmp_path):
    model = new_model(llama(num_key_value_heads=2, intermediate_size=48, max_position_embeddings=64, dropout=0.1))
    assert type(model).__name__ == "LlamaForCausalLM"
    layer = model.model.layers[1]
    assert len(model.model.layers) == 2
    assert layer.self_attn.q_proj.weight.shape == (32, 32)
    assert layer.self_attn.k_proj.weight.shape == (16, 32)
    assert layer.mlp.gate_proj.weight.shape == (48, 32)
    assert model.model.embed_tokens.weight.shape == (257, 32)
    assert model.config.max_position_embeddings == 64
    assert model.config.attention_dropout == 0.1
    assert model.lm_head.weight is not model.model.embed_tokens.weight


def test_gated_mlp_of_llama_is_two_thirds_as_wide(tmp_path):
    assert new_model(llama()).config.intermediate_size == 88
    assert new_model(config()).config.n_inner == 128
    assert new_model(llama(hidden_size=96)).config.intermediate_size == 256


def test_dropout_of_llama_acts_in_training_and_is_off_in_the_sweep(tmp_path):
    torch.manual_seed(0)
    model = new_model(llama(dropout=0.5))
    inputs = torch.arange(16)[None]
    first, second = (model(input_ids=inputs).logits for _ in range(2))
    assert not torch.equal(first, second)
    assert regularisers_off(llama()) == {"dropout": 0.0}
    assert workload_hyperparameters(llama()) == ("dropout",)
    swept = build_workload(llama(dropout=0.5), {"dropout": 0.0}, folder=tmp_path, cache=tmp_path)
    assert swept.build_model().config.attention_dropout == 0.0
    assert swept.recipe()["model"]["dropout"] == 0.0


def test_heads_of_keys_left_open_and_written_out_are_one_recipe(tmp_path):
    def recipe(**model):
        return build_workload(llama(**model), {}, folder=tmp_path, cache=tmp_path).recipe()

    assert recipe() == recipe(num_key_value_heads=4, intermediate_size=88)
    assert recipe() != recipe(num_key_value_heads=2)
    assert recipe()["model"] != build_workload(config(), {}, folder=tmp_path, cache=tmp_path).recipe()["model"]


def test_heads_of_odd_width_are_refused_also_without_a_study_file():
    with pytest.raises(ConfigError, match=r"hidden_size=36 over num_heads=4 gives heads of odd width"):
        new_model(llama(hidden_size=36))


def test_exported_llama_opens_and_gives_the_logits_of_training(tmp_path):
    torch.manual_seed(3)
    study = llama(num_key_value_heads=2)
    model = new_model(study, dropout=0.2).eval()
    (tmp_path / "out").mkdir()
    write_model(study, {"dropout": 0.2}, weights=weight_tensors(model), folder=tmp_path / "out")
    opened = AutoModelForCausalLM.from_pretrained(tmp_path / "out")
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "out")
    assert tokenizer("Ab").input_ids == [65, 98]
    inputs = torch.tensor([tokenizer("The words of it ").input_ids])
    with torch.no_grad():
        assert torch.equal(opened(input_ids=inputs).logits, model(input_ids=inputs, use_cache=False).logits)
    assert opened.config.use_cache
