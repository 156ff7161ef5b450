"""Sizes of a language model that follow from its section: open fields filled in, and the number of its weights.

The one rule: closed form. No model is built, so that `tuner check` can say them at once.
"""

from __future__ import annotations

from typing import Any

from tuner.config.schema import CausalLMWorkload, CausalModel

BYTE_VOCAB_SIZE = 257
"""256 byte values and an end-of-document token."""


def vocab_size(workload: CausalLMWorkload) -> int:
    """The number of ids, known without any data."""
    return BYTE_VOCAB_SIZE if workload.vocab_size is None else workload.vocab_size


def resolved_sizes(model: CausalModel, block_size: int) -> dict[str, Any]:
    """The section with its open fields filled in, and without those that the architecture does not know.

    Llama's gated MLP has three matrices instead of two: two thirds of 4 x hidden_size keep its number of weights
    (arXiv:2302.13971), here rounded up to a multiple of 8.
    """
    is_llama = model.architecture == "llama"
    mlp = -(-8 * model.hidden_size // 3 // 8) * 8 if is_llama else 4 * model.hidden_size
    sizes = {
        **model.model_dump(exclude={"dropout", "num_key_value_heads"}),
        "intermediate_size": model.intermediate_size or mlp,
        "max_position_embeddings": model.max_position_embeddings or block_size,
    }
    if is_llama:
        sizes["num_key_value_heads"] = model.num_key_value_heads or model.num_heads
    return sizes


def num_parameters(workload: CausalLMWorkload) -> int:
    """Weights of a language model, each counted once."""
    sizes, vocabulary = resolved_sizes(workload.model, workload.block_size), vocab_size(workload)
    return _llama(sizes, vocabulary) if workload.model.architecture == "llama" else _gpt2(sizes, vocabulary)


def _gpt2(sizes: dict[str, Any], vocabulary: int) -> int:
    """Learnt positions, biases everywhere, and an output that is the embedding again."""
    hidden, inner = sizes["hidden_size"], sizes["intermediate_size"]
    attention = 4 * hidden * hidden + 4 * hidden
    mlp = 2 * hidden * inner + inner + hidden
    norms = 2 * 2 * hidden
    embeddings = (vocabulary + sizes["max_position_embeddings"]) * hidden
    return int(embeddings + sizes["num_layers"] * (attention + mlp + norms) + 2 * hidden)


def _llama(sizes: dict[str, Any], vocabulary: int) -> int:
    """No biases, norms of one vector, keys and values in groups, and an output of its own."""
    hidden, inner = sizes["hidden_size"], sizes["intermediate_size"]
    grouped = hidden // sizes["num_heads"] * sizes["num_key_value_heads"]
    attention = 2 * hidden * hidden + 2 * hidden * grouped
    return int(2 * vocabulary * hidden + sizes["num_layers"] * (attention + 3 * hidden * inner + 2 * hidden) + hidden)
