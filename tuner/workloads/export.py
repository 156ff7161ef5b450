"""Trained weights as a model folder: what transformers opens for a language model, plain safetensors for other classes.

The one rule: neither data nor user code is needed, only the study's `workload` section and the weights, so a model
leaves its study even when its data has gone.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import torch
from transformers.utils import logging

from tuner.config.schema import CausalLMWorkload, PythonWorkload
from tuner.errors import DataError
from tuner.records import Value

Merges = Sequence[tuple[str, str]]


def write_model(
    config: CausalLMWorkload | PythonWorkload,
    options: Mapping[str, Value],
    *,
    weights: Mapping[str, torch.Tensor],
    folder: Path,
    merges: Merges = (),
) -> str:
    """Write the model's files into an empty folder, and return Python that loads them from the folder `.`.

    Args:
        config: the study's `workload` section.
        options: the run's own values, which override the config's (dropout, ...).
        weights: the model's tensors by name, a tied one under its first name only.
        folder: an existing folder.
        merges: those of the study's tokenizer, if it learnt any (`bpe.kept_merges`).

    Raises:
        DataError: the weights are those of another model than the config describes.
    """
    if isinstance(config, CausalLMWorkload):
        return _write_causal_lm(config, options, weights=weights, folder=folder, merges=merges)
    return _write_tensors(config, options, weights=weights, folder=folder)


def _write_causal_lm(
    config: CausalLMWorkload,
    options: Mapping[str, Value],
    *,
    weights: Mapping[str, torch.Tensor],
    folder: Path,
    merges: Merges,
) -> str:
    # Transformers' models take seconds to import, which a python workload should not pay.
    from tuner.workloads.bpe import save_bpe_tokenizer
    from tuner.workloads.byte_tokenizer import save_byte_tokenizer
    from tuner.workloads.causal_lm import new_model

    dropout = options.get("dropout")
    model = new_model(config, dropout=None if dropout is None else float(dropout))
    _copy_weights(model, weights)
    # Generation wants the cache that training has no use for; it changes no logit.
    model.config.use_cache = True
    model.generation_config.use_cache = True
    with _no_progress_bars():
        model.save_pretrained(folder)
    length = config.model.max_position_embeddings or config.block_size
    if config.tokenizer == "bytes":
        save_byte_tokenizer(folder, model_max_length=length)
    else:
        save_bpe_tokenizer(folder, merges, model_max_length=length)
    return (
        "from transformers import AutoModelForCausalLM, AutoTokenizer\n\n"
        'model = AutoModelForCausalLM.from_pretrained(".")\n'
        'tokenizer = AutoTokenizer.from_pretrained(".")\n\n'
        'prompt = tokenizer("The ", return_tensors="pt")\n'
        "print(tokenizer.decode(model.generate(**prompt, max_new_tokens=40)[0]))\n"
    )


@contextmanager
def _no_progress_bars() -> Iterator[None]:
    """One file is written at once; a bar for it would be noise on stderr."""
    was_enabled = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    try:
        yield
    finally:
        if was_enabled:
            logging.enable_progress_bar()  # type: ignore[no-untyped-call]


def _copy_weights(model: torch.nn.Module, weights: Mapping[str, torch.Tensor]) -> None:
    """Copy all weights into a model; what they leave out must be tied to something that they hold."""
    live = model.state_dict(keep_vars=True)
    filled = {id(live[name]) for name in weights if name in live}
    missing = [name for name, tensor in live.items() if id(tensor) not in filled]
    strange = [name for name, tensor in weights.items() if name not in live or live[name].shape != tensor.shape]
    if missing or strange:
        raise DataError(
            f"the checkpoint is of another model than workload.model describes: {(missing + strange)[0]} does not fit; "
            "export with the study and the version of tuner that wrote it"
        )
    with torch.no_grad():
        for name, tensor in weights.items():
            live[name].copy_(tensor)


def _write_tensors(
    config: PythonWorkload, options: Mapping[str, Value], *, weights: Mapping[str, torch.Tensor], folder: Path
) -> str:
    from safetensors.torch import save_file

    save_file({name: tensor.contiguous() for name, tensor in weights.items()}, folder / "model.safetensors")
    module, _, name = config.class_.partition(":")
    given = ", ".join(f"{key!r}: {value!r}" for key, value in sorted({**config.options, **options}.items()))
    return (
        "from safetensors.torch import load_model\n"
        f"from {module} import {name}\n\n"
        f"model = {name}(**{{{given}}}).build_model()\n"
        'load_model(model, "model.safetensors")\n'
        "model.eval()\n"
    )
