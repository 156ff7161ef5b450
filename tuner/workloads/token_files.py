"""A folder of the token cache: the tokens of each split, what was learnt to make them, and the digests of all.

The one rule: a folder that is not exactly what was written is no folder. It follows from the text and is made again.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import uuid
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tuner.records import TEST, TRAIN_SAMPLE, VALIDATION

MERGES_FILE = "merges.json"
DIGESTS_FILE = "digests.json"

Tokens = NDArray[np.unsignedinteger[Any]]


@dataclass(frozen=True, slots=True, kw_only=True)
class KeptTokens:
    """Read-only, memory-mapped tokens by split, and the digests by split and file name."""

    tokens: Mapping[str, Tokens]
    digests: Mapping[str, str]


def kept_tokens(folder: Path, *, learnt: bool) -> KeptTokens | None:
    """What a folder holds, if it is whole; with the file of the merges if they were `learnt`. None if it is not."""
    try:
        known = json.loads((folder / DIGESTS_FILE).read_bytes())
        tokens = {
            split: np.asarray(np.load(folder / f"{split}.npy", mmap_mode="r", allow_pickle=False))
            for split in (TRAIN_SAMPLE, VALIDATION, TEST)
        }
        merges = (folder / MERGES_FILE).read_bytes() if learnt else None
    except (OSError, ValueError, EOFError):
        return None  # Missing, cut short, or no longer what numpy and JSON can read.
    found = digests_of(tokens, merges)
    return KeptTokens(tokens=tokens, digests=found) if found == known else None


def digests_of(tokens: Mapping[str, Tokens], merges: bytes | None) -> dict[str, str]:
    """SHA-256 of each split's type, length and content, and of the file of the merges."""
    digests = {}
    for split, array in tokens.items():
        digest = hashlib.sha256(f"{array.dtype.str} {array.shape};".encode())
        digest.update(np.ascontiguousarray(array).data)
        digests[split] = digest.hexdigest()
    return digests if merges is None else {**digests, MERGES_FILE: hashlib.sha256(merges).hexdigest()}


def remove_folder(folder: Path) -> None:
    """Take a folder away at once and whole; what others have mapped of it stays readable to them."""
    gone = folder.with_name(f".gone-{uuid.uuid4().hex}")
    with suppress(OSError):
        os.rename(folder, gone)
        shutil.rmtree(gone, ignore_errors=True)
