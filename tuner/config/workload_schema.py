"""The `workload` section: a language model from scratch, or a user's own class."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from tuner.config.section import Positive, Section, setting


class Split(Section):
    """Shares of the documents; the rest is the training set. The caps cut after the split, in tokens."""

    validation: float = setting(0.1, change="recipe", description="share of documents for validation", gt=0, lt=1)
    test: float = setting(0.1, change="recipe", description="share of documents for the test set", gt=0, lt=1)
    max_train_tokens: Positive | None = setting(None, change="recipe", description="train on at most so many tokens")
    max_validation_tokens: Positive | None = setting(
        None, change="recipe", description="validate on at most so many tokens"
    )
    max_test_tokens: Positive | None = setting(None, change="recipe", description="test on at most so many tokens")


class CausalModel(Section):
    """A language model from scratch, in the names of transformers' configs."""

    architecture: Literal["gpt2", "llama"] = setting("gpt2", change="recipe", description="model family")
    hidden_size: Positive = setting(64, change="recipe", description="width; must divide by num_heads")
    num_layers: Positive = setting(2, change="recipe", description="transformer blocks")
    num_heads: Positive = setting(2, change="recipe", description="attention heads")
    num_key_value_heads: Positive | None = setting(
        None, change="recipe", description="llama: heads of keys and values; must divide num_heads; default: num_heads"
    )
    intermediate_size: Positive | None = setting(
        None,
        change="recipe",
        description="width of the MLP; default 4 x hidden_size, for llama's gated one two thirds of that",
    )
    max_position_embeddings: Positive | None = setting(None, change="recipe", description="default: block_size")
    dropout: float = setting(
        0.0,
        change="recipe",
        description="gpt2: embedding, attention and residual dropout; llama: attention dropout, the only one it has",
        ge=0,
        lt=1,
    )

    @model_validator(mode="after")
    def _heads_divide(self) -> CausalModel:
        if self.hidden_size % self.num_heads:
            raise ValueError(
                f"hidden_size={self.hidden_size} does not divide by num_heads={self.num_heads}; "
                f"use a hidden_size that is a multiple of {self.num_heads}, or another num_heads"
            )
        return self


class CausalLMWorkload(Section):
    """A causal language model trained from scratch on text."""

    kind: Literal["causal_lm"] = setting(change="recipe", description="kind of workload")
    text: str | tuple[str, ...] = setting(
        change="recipe",
        description="files, globs (relative to the YAML), or python:module:attribute; one document each",
    )
    text_column: str | None = setting(
        None, change="recipe", description="text names tables (.csv, .jsonl, .parquet): this column, a document per row"
    )
    num_pieces: Positive = setting(
        1,
        change="recipe",
        description="cut each document at line ends into so many, so that one long text can be split",
    )
    tokenizer: Literal["bytes", "bpe"] = setting(
        "bytes",
        change="recipe",
        description="bytes: 256 byte values and an end-of-document token; bpe: pairs learnt from the training "
        "documents alone. Loss and perplexity are per token: values under different tokenizers do not compare",
    )
    vocab_size: Annotated[int, Field(gt=257)] | None = setting(
        None, change="recipe", description="bpe: number of tokens, bytes and end of document included"
    )
    block_size: Annotated[int, Field(ge=2)] = setting(64, change="recipe", description="tokens per training example")
    model: CausalModel = setting(CausalModel(), change="recipe", description="the architecture")
    split: Split = setting(Split(), change="recipe", description="train, validation and test documents")

    @model_validator(mode="after")
    def _positions_suffice(self) -> CausalLMWorkload:
        positions = self.model.max_position_embeddings
        if positions is not None and positions < self.block_size:
            raise ValueError(
                f"max_position_embeddings={positions} is smaller than block_size={self.block_size}; "
                f"raise it to {self.block_size} or shorten block_size"
            )
        return self


class PythonWorkload(Section):
    """A user's own workload class: any torch model, data and metric."""

    kind: Literal["python"] = setting(change="recipe", description="kind of workload")
    class_: str = Field(
        alias="class",
        pattern=r"^[\w.]+:\w+$",
        description="module:Class, importable from the YAML's folder",
        json_schema_extra={"change": "recipe"},
    )
    options: dict[str, Any] = setting(default={}, change="recipe", description="keyword arguments of the class")


Workload = Annotated[CausalLMWorkload | PythonWorkload, Field(discriminator="kind")]
