"""A language model from scratch on memory-mapped tokens.

The one rule: example i is tokens[i * block_size : (i + 1) * block_size + 1], that is block_size inputs and, shifted by
one, block_size targets. Inputs do not overlap, and every token but the first of a split is a target exactly once.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
import transformers
from numpy.typing import NDArray
from transformers import PreTrainedModel

from tuner.config.model_sizes import resolved_sizes, vocab_size
from tuner.config.schema import CausalLMWorkload
from tuner.workloads.architectures import ATTENTION, new_transformer
from tuner.workloads.interface import Batch, entropy
from tuner.workloads.text import END_OF_DOCUMENT, TokenSplits
from tuner.workloads.token_files import Tokens

CAUSAL_LM_VERSION = 1
"""Rises when the model or its examples change: part of the recipe."""


class CausalLM:
    """Next-token prediction; targets are tokens, so `exp(loss)` is the perplexity per token."""

    metrics = ("loss",)

    def __init__(self, config: CausalLMWorkload, tokens: TokenSplits, *, dropout: float | None = None) -> None:
        self._config = config
        self._tokens = tokens
        self._dropout = _dropout(config, dropout)
        self._examples = {split: _blocks(array, config.block_size) for split, array in tokens.tokens.items()}

    def num_examples(self, split: str) -> int:
        return len(self._examples[split])

    def build_model(self) -> torch.nn.Module:
        return new_model(self._config, dropout=self._dropout)

    def batch(self, split: str, indices: NDArray[np.int64]) -> Batch:
        """`inputs` and `targets`, int64 of shape (len(indices), block_size)."""
        block = torch.from_numpy(self._examples[split][indices].astype(np.int64))  # (examples, block_size + 1)
        return {"inputs": block[:, :-1], "targets": block[:, 1:]}

    def num_targets(self, batch: Batch) -> int:
        return batch["targets"].numel()

    def loss_sum(self, model: torch.nn.Module, batch: Batch) -> torch.Tensor:
        logits = model(input_ids=batch["inputs"], use_cache=False).logits  # (examples, block_size, vocabulary)
        return F.cross_entropy(logits.float().flatten(0, 1), batch["targets"].flatten(), reduction="sum")

    def score_sums(self, model: torch.nn.Module, batch: Batch) -> Mapping[str, torch.Tensor]:
        return {"loss": self.loss_sum(model, batch)}

    def constant_loss(self, split: str, indices: NDArray[np.int64]) -> float:
        """The unigram entropy of the examples' targets."""
        return entropy(self._examples[split][indices][:, 1:].ravel())

    def recipe(self) -> Mapping[str, Any]:
        return {
            "kind": "causal_lm",
            "version": CAUSAL_LM_VERSION,
            "data": self._tokens.digest,
            "tokenizer": self._tokenizer(),
            "block_size": self._config.block_size,
            "model": {**resolved_sizes(self._config.model, self._config.block_size), "dropout": self._dropout},
            "attention": ATTENTION,
            "metrics": list(self.metrics),
            "versions": {"transformers": transformers.__version__},
        }

    def _tokenizer(self) -> Any:
        """Learnt merges are named by their digest: another version of the library might learn others."""
        name, digest = self._config.tokenizer, self._tokens.tokenizer_digest
        return name if digest is None else {"name": name, "vocab_size": vocab_size(self._config), "digest": digest}


def new_model(config: CausalLMWorkload, *, dropout: float | None = None) -> PreTrainedModel:
    """The model of a `workload` section with fresh weights; `dropout` overrides the section's. Reads no data."""
    shared = {"vocab_size": vocab_size(config), "bos_token_id": END_OF_DOCUMENT, "eos_token_id": END_OF_DOCUMENT}
    return new_transformer(config.model, block_size=config.block_size, dropout=_dropout(config, dropout), shared=shared)


def _dropout(config: CausalLMWorkload, dropout: float | None) -> float:
    return config.model.dropout if dropout is None else dropout


def _blocks(tokens: Tokens, block_size: int) -> Tokens:
    """A view of shape (examples, block_size + 1), neighbours sharing one token; nothing is copied out of the map."""
    windows = np.lib.stride_tricks.sliding_window_view(tokens, block_size + 1)
    blocks: Tokens = windows[::block_size]
    return blocks
