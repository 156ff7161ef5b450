"""Rules over the `workload` section of a language model: settings that another setting rules out.

A field that would have no effect is refused, never ignored (DESIGN.md, D8).
"""

from __future__ import annotations

from collections.abc import Iterator

from tuner.config.problems import Problem
from tuner.config.schema import CausalLMWorkload, CausalModel


def workload_problems(workload: CausalLMWorkload) -> Iterator[Problem]:
    """Everything that contradicts inside the section."""
    yield from _model_problems(workload.model)
    size = workload.vocab_size
    if workload.tokenizer == "bpe" and size is None:
        yield Problem(
            path=("workload", "vocab_size"),
            message="missing; bpe learns as many tokens as you say: add vocab_size: 4096, or less for a short text",
            cause=("workload", "tokenizer"),
        )
    elif workload.tokenizer != "bpe" and size is not None:
        yield Problem(
            path=("workload", "vocab_size"),
            message=f"{size} has no effect on tokenizer {workload.tokenizer}; remove it, or use tokenizer: bpe",
            cause=("workload", "tokenizer"),
        )
    if workload.text_column == "":
        yield Problem(path=("workload", "text_column"), message='"" names no column; name one, or remove the line')


def _model_problems(model: CausalModel) -> Iterator[Problem]:
    path, groups = ("workload", "model"), model.num_key_value_heads
    if model.architecture != "llama":
        if groups is not None:
            yield Problem(
                path=(*path, "num_key_value_heads"),
                message=f"{groups} has no effect on architecture {model.architecture}; remove it, or use llama",
                cause=(*path, "architecture"),
            )
        return
    if groups is not None and model.num_heads % groups:
        yield Problem(
            path=(*path, "num_key_value_heads"),
            message=f"{groups} does not divide num_heads={model.num_heads}; use a divisor of {model.num_heads}",
        )
    if model.hidden_size // model.num_heads % 2:
        yield Problem(
            path=(*path, "hidden_size"),
            message=f"{model.hidden_size} over num_heads={model.num_heads} gives llama heads of odd width, which "
            f"rotary positions cannot turn; use a multiple of {2 * model.num_heads}",
        )
