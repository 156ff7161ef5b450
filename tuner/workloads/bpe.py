"""Byte-level BPE, learnt from the training documents alone (arXiv:1508.07909; over bytes as in GPT-2).

The one rule: a tokenizer is its list of merges and nothing else. Ids 0 to 255 are the bytes, `END_OF_DOCUMENT` follows,
then each new string in the order in which it was merged; so every text has tokens, and tokens give back its bytes.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

from tuner.config.model_sizes import BYTE_VOCAB_SIZE
from tuner.errors import DataError
from tuner.workloads.byte_tokenizer import END_OF_DOCUMENT_NAME, byte_characters, save_tokenizer
from tuner.workloads.text import END_OF_DOCUMENT
from tuner.workloads.token_files import MERGES_FILE

Merges = Sequence[tuple[str, str]]


def learn_merges(documents: Iterable[bytes], *, vocab_size: int) -> list[tuple[str, str]]:
    """The merges that make a vocabulary of exactly `vocab_size`, bytes and end of document included.

    The same documents give the same merges, whatever the number of threads: ties go to the lower pair.

    Raises:
        DataError: text too short or too uniform for so many tokens.
    """
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = _pre_tokenizer()
    alphabet = sorted(byte_characters().values())
    # The trainer knows nothing of the end of document, hence one less.
    trainer = trainers.BpeTrainer(vocab_size=vocab_size - 1, initial_alphabet=alphabet, show_progress=False)
    tokenizer.train_from_iterator((data.decode("utf-8") for data in documents), trainer)
    learnt = json.loads(tokenizer.to_str())["model"]["merges"]
    merges = [(str(left), str(right)) for left, right in learnt]
    found = len(vocabulary(merges))
    if found < vocab_size:
        raise DataError(
            f"workload.vocab_size={vocab_size}: the training documents yield only {found} tokens before nothing is "
            f"left to merge; use vocab_size: {found} or less, or give more text"
        )
    return merges


def vocabulary(merges: Merges) -> dict[str, int]:
    """Every token's id, in GPT-2's printable characters for bytes.

    Two pairs may make one string: it has one id, so that there may be fewer tokens than merges.
    """
    ids = {char: byte for byte, char in byte_characters().items()}
    ids[END_OF_DOCUMENT_NAME] = END_OF_DOCUMENT
    for left, right in merges:
        ids.setdefault(left + right, len(ids))
    assert ids[END_OF_DOCUMENT_NAME] == BYTE_VOCAB_SIZE - 1, "words are cut at punctuation: no merge makes this name"
    return ids


class Encoder:
    """Text to ids, without the end of document."""

    def __init__(self, merges: Merges) -> None:
        self._tokenizer = _tokenizer(merges)

    def __call__(self, data: bytes) -> NDArray[np.int64]:
        (encoded,) = self._tokenizer.encode_batch_fast([data.decode("utf-8")], add_special_tokens=False)
        return np.asarray(encoded.ids, dtype=np.int64)


def merges_to_bytes(merges: Merges) -> bytes:
    """The file that keeps them, the same bytes for the same merges; its SHA-256 names the tokenizer."""
    return json.dumps({"merges": merges}, ensure_ascii=True, separators=(",", ":")).encode()


def merges_from_bytes(data: bytes) -> list[tuple[str, str]]:
    """What `merges_to_bytes` wrote."""
    return [(left, right) for left, right in json.loads(data)["merges"]]


def kept_merges(cache: Path, digest: str) -> list[tuple[str, str]]:
    """The merges whose file has this SHA-256, from the folders of tokens in `cache`; the text is not needed.

    Raises:
        DataError: the cache no longer has it.
    """
    for path in sorted(cache.glob(f"*/{MERGES_FILE}")):
        data = path.read_bytes()
        if hashlib.sha256(data).hexdigest() == digest:
            return merges_from_bytes(data)
    raise DataError(
        f"the tokenizer of this study is gone: no {MERGES_FILE} in {cache} has digest {digest[:12]}; put the folder "
        "back, or run the study under another name"
    )


def save_bpe_tokenizer(folder: Path, merges: Merges, *, model_max_length: int) -> None:
    """Write the files that `AutoTokenizer` opens; it gives the ids of training, without the end of document."""
    save_tokenizer(_tokenizer(merges), folder, model_max_length=model_max_length)


def _tokenizer(merges: Merges) -> Tokenizer:
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary(merges), merges=list(merges)))
    tokenizer.pre_tokenizer = _pre_tokenizer()
    tokenizer.decoder = decoders.ByteLevel()
    return tokenizer


def _pre_tokenizer() -> pre_tokenizers.PreTokenizer:
    """GPT-2's: words with the space before them, numbers, punctuation; no merge crosses these."""
    return pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
