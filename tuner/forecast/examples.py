"""How many training examples a study's text holds, counted before anything runs, for epochs beside steps.

The one rule: no user code is imported, and what cannot be counted within a moment is bounded or called unknown.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from tuner.config.schema import CausalLMWorkload, StudyConfig
from tuner.errors import UserError
from tuner.records import TRAIN_SAMPLE

MAX_BYTES_READ = 20_000_000
"""Text up to this size is read and counted, in a fraction of a second; of more the files' sizes are an upper bound."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ExampleCount:
    """Training examples, between bounds; None for a bound that is not known. `told` says where they come from."""

    least: int | None = None
    most: int | None = None
    told: str


def count_train_examples(config: StudyConfig, *, folder: Path) -> ExampleCount:
    """The training examples of a study whose relative paths start at `folder`."""
    workload = config.workload
    if not isinstance(workload, CausalLMWorkload):
        return ExampleCount(told="epochs are unknown before the run: the workload's own code holds its data")
    entries = (workload.text,) if isinstance(workload.text, str) else workload.text
    if any(entry.startswith("python:") for entry in entries):
        return _capped(workload, "the text is a Python object, which is not imported here")
    try:
        return _counted(workload, folder)
    except UserError as error:
        return _capped(workload, str(error).splitlines()[0])


def _counted(workload: CausalLMWorkload, folder: Path) -> ExampleCount:
    from tuner.workloads.text import split_documents, study_documents, text_files

    files = text_files(workload.text, folder=folder)
    if any(path.suffix.lower() == ".parquet" for path in files):
        return _capped(workload, "compressed tables are counted when it begins")
    size = sum(path.stat().st_size for path in files)
    if size > MAX_BYTES_READ:
        most = _examples(workload, size + len(files) * workload.num_pieces)
        return ExampleCount(most=most, told=f"at most {most:,} training examples, by the size of the text's files")
    documents = study_documents(workload, folder=folder)
    numbers = split_documents(len(documents), workload.split)[TRAIN_SAMPLE]
    # Each document is followed by a token of its own; a learnt one stands for at least one byte.
    most = _examples(workload, sum(len(documents[number].data) + 1 for number in numbers))
    if workload.tokenizer == "bytes":
        return ExampleCount(least=most, most=most, told=f"{most:,} training examples")
    return ExampleCount(most=most, told=f"at most {most:,} training examples: {workload.tokenizer} makes fewer")


def _capped(workload: CausalLMWorkload, why: str) -> ExampleCount:
    """What a stated cap alone says."""
    cap = workload.split.max_train_tokens
    if cap is None:
        return ExampleCount(told=f"epochs are unknown before the run: {why}")
    most = _examples(workload, cap)
    return ExampleCount(most=most, told=f"at most {most:,} training examples, by workload.split.max_train_tokens")


def _examples(workload: CausalLMWorkload, num_tokens: int) -> int:
    """Blocks that overlap by one token, the last target of each being the first input of the next."""
    cap = workload.split.max_train_tokens
    num_tokens = num_tokens if cap is None else min(num_tokens, cap)
    return max(0, (num_tokens - 1) // workload.block_size)
