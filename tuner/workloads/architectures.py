"""The architectures of `causal_lm` as transformers' models with fresh weights, from the study's own names.

The one rule: sizes alone decide a model. No data is read, so that an exported model needs its study's config only.
"""

from __future__ import annotations

from typing import Any

from transformers import PreTrainedModel
from transformers.models.gpt2.configuration_gpt2 import GPT2Config
from transformers.models.gpt2.modeling_gpt2 import GPT2LMHeadModel
from transformers.models.llama.configuration_llama import LlamaConfig
from transformers.models.llama.modeling_llama import LlamaForCausalLM

from tuner.config.model_sizes import resolved_sizes
from tuner.config.schema import CausalModel
from tuner.errors import ConfigError

ATTENTION = "sdpa"


def new_transformer(model: CausalModel, *, block_size: int, dropout: float, shared: dict[str, Any]) -> PreTrainedModel:
    """A model of the `workload.model` section.

    Args:
        model: the section.
        block_size: tokens per example; the model has at least so many positions.
        dropout: replaces the section's own.
        shared: settings that every architecture calls alike: `vocab_size`, ids of special tokens.

    Raises:
        ConfigError: sizes that the architecture cannot have.
    """
    sizes = resolved_sizes(model, block_size)
    shared = {**shared, "use_cache": False, "attn_implementation": ATTENTION}
    if model.architecture == "llama":
        return LlamaForCausalLM(_llama_config(sizes, dropout, shared))
    return GPT2LMHeadModel(_gpt2_config(sizes, dropout, shared))


def _gpt2_config(sizes: dict[str, Any], dropout: float, shared: dict[str, Any]) -> GPT2Config:
    settings: dict[str, Any] = {
        **shared,
        "n_positions": sizes["max_position_embeddings"],
        "n_embd": sizes["hidden_size"],
        "n_layer": sizes["num_layers"],
        "n_head": sizes["num_heads"],
        "n_inner": sizes["intermediate_size"],
        "embd_pdrop": dropout,
        "attn_pdrop": dropout,
        "resid_pdrop": dropout,
    }
    return GPT2Config(**settings)


def _llama_config(sizes: dict[str, Any], dropout: float, shared: dict[str, Any]) -> LlamaConfig:
    """Untied embeddings, RMSNorm and rotary positions, as transformers has them by default."""
    if sizes["hidden_size"] // sizes["num_heads"] % 2:
        raise ConfigError(
            f"workload.model: hidden_size={sizes['hidden_size']} over num_heads={sizes['num_heads']} gives heads of "
            "odd width, which rotary positions cannot turn; use a hidden_size that is an even multiple of num_heads"
        )
    settings: dict[str, Any] = {
        **shared,
        "max_position_embeddings": sizes["max_position_embeddings"],
        "hidden_size": sizes["hidden_size"],
        "intermediate_size": sizes["intermediate_size"],
        "num_hidden_layers": sizes["num_layers"],
        "num_attention_heads": sizes["num_heads"],
        "num_key_value_heads": sizes["num_key_value_heads"],
        "attention_dropout": dropout,
    }
    return LlamaConfig(**settings)
