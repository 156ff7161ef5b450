"""What `tuner init` decides for the user: size, context, threshold and budget, from the text and what it may cost.

The one rule: the text is read with the code that trains on it, so a written study has enough of it.
"""

from __future__ import annotations

import math
import os
import re
import textwrap
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from math import ceil
from pathlib import Path
from typing import TYPE_CHECKING, get_args

from tuner.config.first_study import CPU_LARGER, CPU_SMALL, GPU_SIZES, FirstStudy, Size, first_study_yaml
from tuner.errors import ConfigError, DataError

if TYPE_CHECKING:
    from tuner.protocol.plan import PlannedPhase
    from tuner.workloads.text import Document

DEFAULT_TEXT = "python:pydoc_data.topics:topics"
DEFAULT_MAX_STEPS = 4000
MAX_STEPS_CHOICES = (100_000, 50_000, 20_000, 10_000, 5000, 2000, 1000, 500)
MIN_BLOCK_SIZE = 32
SAMPLE_BYTES = 1_000_000
SHARE_OF_FOLLOW_LOSS = 0.85
"""Of the loss of a model that knows which byte follows which. A small GPT-2 gets there within about 1,000 updates on
English prose, while it still falls fast: early enough for a first study, late enough that the rates differ."""

MOST_DOUBLINGS = 4
"""Of round 1's budget, where hours end the study anyway."""

NUM_PIECES = 20
SPLITS = ("train", "validation", "test")
MIN_DOCUMENTS = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class FirstChoices:
    """What the user asked for; None where nothing was said."""

    name: str
    data: str | None
    text_column: str | None
    architecture: str
    hours: float | None
    gpu: str | None


def first_study(asked: FirstChoices, *, folder: Path) -> FirstStudy:
    """The study to write into `folder`.

    Raises:
        ConfigError: an option that cannot be had, or hours that buy no study.
        DataError: text that is missing, not UTF-8, or too little.
    """
    _check_architecture(asked.architecture)
    _check_column(asked)
    sizes = _sizes(asked)
    text = asked.data or DEFAULT_TEXT
    documents, num_pieces = _documents(text, folder, column=asked.text_column)
    loss = follow_loss(_sample(documents))
    drafts = [
        FirstStudy(
            name=asked.name,
            text=text,
            text_column=asked.text_column,
            num_pieces=num_pieces,
            architecture=asked.architecture,
            size=size,
            block_size=_block_size(size, documents),
            max_steps=DEFAULT_MAX_STEPS,
            follow_loss=loss,
            at_most=max(0.05, round(SHARE_OF_FOLLOW_LOSS * loss, 2)),
            cost="",
        )
        for size in sizes
    ]
    return _affordable(drafts, asked.hours)


def follow_loss(data: bytes) -> float:
    """Mean negative log likelihood, in nats per byte, of guessing each byte from the one before it.

    The counts are those of the same bytes, so that short texts look a little more predictable than they are.
    """
    pairs, firsts, total = Counter(pairwise(data)), Counter(data[:-1]), max(1, len(data) - 1)
    return -sum(count * math.log(count / firsts[first]) for (first, _), count in pairs.items()) / total


def _affordable(drafts: Sequence[FirstStudy], hours: float | None) -> FirstStudy:
    """The largest draft and budget whose longest course fits into the hours; the first one if none were given.

    Sized for one doubling of round 1's budget. What the hours hold beyond it goes to probes and further doublings:
    hours that are left over beside a budget that is too short would be the worse answer.
    """
    if hours is None:
        return _with_cost(drafts[0])
    for draft in drafts:
        for max_steps in MAX_STEPS_CHOICES:
            study = replace(draft, max_steps=max_steps, hours=hours)
            seconds = _longest_seconds(study)
            if seconds <= 3600 * hours:
                return replace(_with_cost(study), max_adjustments=MOST_DOUBLINGS)
    raise ConfigError(
        f"--hours={hours:g}: the smallest study may take {ceil(seconds / 36) / 100:g} hours; give it that many, or "
        "leave --hours out and shorten the study by hand"
    )


def _with_cost(study: FirstStudy) -> FirstStudy:
    plan = _plan(study)
    least = sum(phase.min_trials * phase.min_steps for phase in plan)
    most = sum(phase.max_trials * phase.max_steps for phase in plan)
    asked = "" if study.hours is None else f"; --hours {study.hours:g} chose this size and max_steps"
    milliseconds = 1000 * study.size.seconds_per_update
    further = "" if study.hours is None else "; probes and further doublings of the budget take what is left"
    told = (
        f"Expected cost: {least:,} to {most:,} updates; at about {milliseconds:.0f} ms each, {_workers(study)} at a "
        f"time, and with evaluations, at most about {_hours_text(_longest_seconds(study))}{asked}{further}. "
        "The speed is an assumption about your machine; `tuner status` shows the seconds that were spent once it runs."
    )
    return replace(study, cost=textwrap.fill(told, 112, initial_indent="# ", subsequent_indent="# "))


def _hours_text(seconds: float) -> str:
    return f"{seconds / 3600:.1f} hours" if seconds >= 3600 else f"{max(1, round(seconds / 60))} minutes"


def _longest_seconds(study: FirstStudy) -> float:
    size = study.size
    return sum(
        phase.max_trials * (phase.max_steps * size.seconds_per_update + phase.max_evals * size.seconds_per_evaluation)
        for phase in _plan(study)
    ) / _workers(study)


def _workers(study: FirstStudy) -> int:
    return 1 if study.size.gpu_gigabytes else len(os.sched_getaffinity(0))


def _plan(study: FirstStudy) -> list[PlannedPhase]:
    """The phases that the study may need, before sharing, if no hours were given: one doubling, and no probe."""
    from tuner.config.problems import Origins
    from tuner.config.reading import read_yaml
    from tuner.config.validation import validate
    from tuner.protocol.plan import closed_form_plan

    text = first_study_yaml(replace(study, hours=None))
    return closed_form_plan(validate(read_yaml(text).data, Origins(source="the study")))


def _check_architecture(name: str) -> None:
    from tuner.config.schema import CausalModel

    known = get_args(CausalModel.model_fields["architecture"].annotation)
    if name not in known:
        raise ConfigError(f"--model={name} is not trained from scratch here; use {' or '.join(known)}")


def _check_column(asked: FirstChoices) -> None:
    if asked.text_column is not None and asked.data is None:
        raise ConfigError(f"--text={asked.text_column} names a column of --data; give --data too")


def _sizes(asked: FirstChoices) -> tuple[Size, ...]:
    """Sizes to try, largest first: a GPU's memory bounds the model, hours may take a smaller one."""
    if asked.hours is not None and not 0 < asked.hours < math.inf:
        raise ConfigError(f"--hours={asked.hours:g} buys nothing; give a positive number of hours")
    if asked.gpu is None:
        return (CPU_SMALL,) if asked.hours is None or asked.hours < 1 else (CPU_LARGER, CPU_SMALL)
    given = re.fullmatch(r"(\d+(?:\.\d+)?)\s*(?:GB?)?", asked.gpu, flags=re.IGNORECASE)
    if given is None:
        raise ConfigError(f"--gpu={asked.gpu} is no size of memory; write it like 6GB")
    fitting = tuple(size for size in GPU_SIZES if size.gpu_gigabytes <= float(given[1]))
    if not fitting:
        least = GPU_SIZES[-1].gpu_gigabytes
        raise ConfigError(f"--gpu={asked.gpu} is below the smallest preset, {least}GB; leave it out to use the CPU")
    return fitting


def _documents(text: str, folder: Path, *, column: str | None) -> tuple[tuple[Document, ...], int]:
    """The documents that would be split, and the pieces that each is cut into when there are few."""
    from tuner.config.schema import CausalLMWorkload
    from tuner.workloads.text import read_documents, study_documents

    try:
        files = read_documents(text, folder=folder, column=column)
        if len(files) >= MIN_DOCUMENTS:
            return files, 1
        num_pieces = math.ceil(NUM_PIECES / len(files))
        workload = CausalLMWorkload(kind="causal_lm", text=text, text_column=column, num_pieces=num_pieces)
        return study_documents(workload, folder=folder), num_pieces
    except (ConfigError, DataError) as error:
        # The user named no setting but an option; the folder of the study is this one.
        message = str(error).replace("workload.text_column", "--text").replace("workload.text", "--data", 1)
        raise type(error)(message) from None


def _sample(documents: Sequence[Document]) -> bytes:
    sample = bytearray()
    for document in documents:
        sample += document.data[: SAMPLE_BYTES - len(sample)]
    return bytes(sample)


def _block_size(size: Size, documents: Sequence[Document]) -> int:
    """The size's context, halved until every split holds a training example.

    Raises:
        DataError: if that would be less than 32 bytes.
    """
    from tuner.config.schema import Split
    from tuner.workloads.text import split_documents

    splits = split_documents(len(documents), Split()).values() if len(documents) >= len(SPLITS) else ()
    shortest = min((sum(len(documents[number].data) + 1 for number in numbers) for numbers in splits), default=0)
    block = size.block_size
    while block >= MIN_BLOCK_SIZE and block >= shortest:
        block //= 2
    if block < MIN_BLOCK_SIZE:
        raise DataError(
            f"--data: the smallest of train, validation and test would hold {shortest} bytes of text, too few to learn "
            f"from; give text of at least {MIN_BLOCK_SIZE * NUM_PIECES} bytes, better a hundred thousand"
        )
    return block
