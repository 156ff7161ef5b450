"""Text to memory-mapped tokens: read documents, split them, tokenize each split once per study.

The one rule: the split is by whole documents and does not depend on the study's seed, so every trial of every study on
the same text with the same settings trains and validates on the same tokens.

Bytes 0-255 are themselves; `END_OF_DOCUMENT` follows each document. BPE tokens come after them (`bpe.py`).
"""

from __future__ import annotations

import glob
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from tuner.config.model_sizes import vocab_size
from tuner.config.schema import CausalLMWorkload, Split
from tuner.errors import ConfigError, DataError, HomeError, TryAgainLater, is_disk_full
from tuner.failpoints import failpoint
from tuner.records import TEST, TRAIN_SAMPLE, VALIDATION
from tuner.workloads.permutation import stream_indices
from tuner.workloads.pieces import cut_at_lines
from tuner.workloads.tables import SUFFIXES, column_texts
from tuner.workloads.token_files import DIGESTS_FILE, MERGES_FILE, Tokens, digests_of, kept_tokens, remove_folder
from tuner.workloads.user_code import load_object

END_OF_DOCUMENT = 256
TEXT_VERSION = 1
"""Rises when reading, splitting or tokenizing changes: part of the data digest."""

BPE_VERSION = 1
"""Rises when merges are learnt or applied differently: part of the digest of such tokens."""

_SPLIT_SEED = 0x5917
_TRIES = 5
"""Made, and lost to another worker that found the one before damaged; more often only by a bad disk."""

_SPLITS = (TRAIN_SAMPLE, VALIDATION, TEST)


@dataclass(frozen=True, slots=True, kw_only=True)
class Document:
    """One text with the name that messages call it by."""

    name: str
    data: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenSplits:
    """Read-only tokens by split, and the digest that names their content.

    They are uint16, or uint32 where the vocabulary needs it. `tokenizer_digest` names merges that were learnt.
    """

    digest: str
    tokens: Mapping[str, Tokens]
    tokenizer_digest: str | None = None


def load_tokens(config: CausalLMWorkload, *, folder: Path, cache: Path) -> TokenSplits:
    """The tokens of each split, memory-mapped from `cache/<digest>/`, written there once if missing.

    Several workers may race: each writes a folder of its own and renames it; whoever is late uses the winner's. What is
    used was compared with its digests first, through the very mapping that batches are read from.

    Raises:
        DataError: text that is missing, empty, not UTF-8, or too little for three splits of one block each.
        HomeError: the cache cannot be written.
    """
    documents = study_documents(config, folder=folder)
    digest = _digest(documents, config)
    target = cache / digest
    for _ in range(_TRIES):
        was_there = target.is_dir()
        kept = kept_tokens(target, learnt=config.tokenizer != "bytes")
        if kept is not None:
            return TokenSplits(digest=digest, tokens=kept.tokens, tokenizer_digest=kept.digests.get(MERGES_FILE))
        if was_there:
            remove_folder(target)  # Damaged: what it held follows from the text, so it is simply made again.
        _write(*_tokenized(documents, config), target=target)
    raise HomeError(f"the token cache {target} is damaged each time it is read; check the disk, or name another --home")


def study_documents(config: CausalLMWorkload, *, folder: Path) -> tuple[Document, ...]:
    """The documents that are split: those of `workload.text`, cut into pieces if the study says so.

    Raises:
        DataError: text that is missing, empty or not UTF-8.
    """
    whole = read_documents(config.text, folder=folder, column=config.text_column)
    if config.num_pieces == 1:
        return whole
    return tuple(
        Document(name=f"{document.name}, piece {number}", data=piece)
        for document in whole
        for number, piece in enumerate(cut_at_lines(document.data, config.num_pieces), start=1)
    )


def read_documents(text: str | Sequence[str], *, folder: Path, column: str | None = None) -> tuple[Document, ...]:
    """The documents that `workload.text` names, in order: of each entry by path or key; empty ones are left out.

    With `column` the files are tables, and each of its rows is a document.
    """
    entries = (text,) if isinstance(text, str) else tuple(text)
    found = [document for entry in entries for document in _entry_documents(entry, folder, column)]
    documents = tuple({document.name: document for document in found if document.data}.values())
    if not documents:
        if column is not None:
            raise DataError(
                f"workload.text_column={column} of {_shown(text)} holds no text: {len(found)} rows, all empty; name "
                "another column"
            )
        raise DataError(
            f"workload.text={_shown(text)} holds no text: {len(found)} documents, all empty; name files with text"
        )
    return documents


def text_files(text: str | Sequence[str], *, folder: Path) -> tuple[Path, ...]:
    """The files that `workload.text` names, each once; what is no file has none.

    Raises:
        DataError: an entry that no file matches.
    """
    entries = (text,) if isinstance(text, str) else tuple(text)
    files = [path for entry in entries if not entry.startswith("python:") for path in _entry_files(entry, folder)]
    return tuple(dict.fromkeys(files))


def split_documents(num_documents: int, split: Split) -> dict[str, list[int]]:
    """Numbers of the documents of each split, rising: whole documents, at least one in each.

    Raises:
        DataError: fewer than three documents, or shares that leave none for training.
    """
    if num_documents < len(_SPLITS):
        count = "one document" if num_documents == 1 else f"{num_documents} documents"
        raise DataError(
            f"workload.text holds {count}; train, validation and test are split by document and need at least 3: "
            "cut each into pieces with workload.num_pieces: 20, or add more"
        )
    num_validation = max(1, round(split.validation * num_documents))
    num_test = max(1, round(split.test * num_documents))
    if num_validation + num_test >= num_documents:
        raise DataError(
            f"workload.split: validation={split.validation:g} and test={split.test:g} take "
            f"{num_validation} + {num_test} of {num_documents} documents and leave none for training; "
            "lower the shares or add documents"
        )
    order = stream_indices(_SPLIT_SEED, 0, num_documents, num_documents).tolist()
    return {
        VALIDATION: sorted(order[:num_validation]),
        TEST: sorted(order[num_validation : num_validation + num_test]),
        TRAIN_SAMPLE: sorted(order[num_validation + num_test :]),
    }


def _tokenized(documents: Sequence[Document], config: CausalLMWorkload) -> tuple[dict[str, Tokens], bytes | None]:
    """Tokens of each split, and the file of the merges if any were learnt: from all training documents, and no other.

    A cap on training tokens can only cut once there are tokens, so it does not shorten what the merges come from.
    """
    if config.tokenizer == "bytes":
        return split_tokens(documents, config, _encode), None
    # The tokenizer's libraries take a second to import, which bytes should not pay.
    from tuner.workloads.bpe import Encoder, learn_merges, merges_to_bytes

    numbers = split_documents(len(documents), config.split)[TRAIN_SAMPLE]
    merges = learn_merges((documents[number].data for number in numbers), vocab_size=vocab_size(config))
    encoder = Encoder(merges)
    dtype = token_dtype(vocab_size(config))

    def encode(document: Document) -> Tokens:
        ids = encoder(document.data)
        tokens: Tokens = np.append(ids, END_OF_DOCUMENT).astype(dtype)
        return tokens

    return split_tokens(documents, config, encode), merges_to_bytes(merges)


def token_dtype(size: int) -> type[np.unsignedinteger[Any]]:
    """The narrowest type that holds every id of a vocabulary.

    >>> [token_dtype(size).__name__ for size in (257, 2**16, 2**16 + 1)]
    ['uint16', 'uint16', 'uint32']
    """
    return np.uint16 if size <= 2**16 else np.uint32


def split_tokens(
    documents: Sequence[Document], config: CausalLMWorkload, encode: Callable[[Document], Tokens]
) -> dict[str, Tokens]:
    """Tokens of each split, cut to its cap; each long enough for one example of block_size + 1 tokens."""
    split = config.split
    caps = {TRAIN_SAMPLE: split.max_train_tokens, VALIDATION: split.max_validation_tokens, TEST: split.max_test_tokens}
    tokens: dict[str, Tokens] = {}
    for name, numbers in split_documents(len(documents), split).items():
        tokens[name] = np.concatenate([encode(documents[number]) for number in numbers])[: caps[name]]
        if len(tokens[name]) < config.block_size + 1:
            raise DataError(
                f"the {name} split has {len(tokens[name])} tokens in {len(numbers)} documents; one example takes "
                f"block_size={config.block_size} and one more; shorten workload.block_size, "
                "raise the split's share or cap, or add text"
            )
    return tokens


def _encode(document: Document) -> NDArray[np.uint16]:
    return np.append(np.frombuffer(document.data, dtype=np.uint8).astype(np.uint16), np.uint16(END_OF_DOCUMENT))


def _entry_documents(entry: str, folder: Path, column: str | None) -> list[Document]:
    if entry.startswith("python:"):
        if column is not None:
            raise ConfigError(
                f"workload.text_column={column}: {entry} has no columns; remove text_column, or name a table"
            )
        return _object_documents(entry, folder)
    paths = _entry_files(entry, folder)
    if column is not None:
        return [document for path in paths for document in _row_documents(path, column)]
    return [_file_document(path) for path in paths]


def _entry_files(entry: str, folder: Path) -> list[Path]:
    pattern = str(folder / entry)
    paths = [pattern] if os.path.isfile(pattern) else sorted(filter(os.path.isfile, glob.glob(pattern, recursive=True)))
    if not paths:
        if (folder / entry).is_dir():
            raise DataError(f"workload.text={entry} is a folder; name its files, for example '{entry.rstrip('/')}/*'")
        raise DataError(f"workload.text={entry}: no file matches in {folder}; paths are relative to the study's YAML")
    return [Path(path) for path in paths]


def _row_documents(path: Path, column: str) -> list[Document]:
    named = [(f"{path}, row {number}", text) for number, text in column_texts(path, column)]
    return [Document(name=name, data=_utf8(text, name)) for name, text in named]


def _file_document(path: Path) -> Document:
    try:
        data = path.read_bytes()
        data.decode("utf-8")
    except OSError as error:
        raise DataError(f"workload.text: {path} cannot be read ({error.strerror}); check its permissions") from None
    except UnicodeDecodeError as error:
        raise DataError(f"workload.text: {path} is not UTF-8 at byte {error.start}; {_remedy(path)}") from None
    return Document(name=str(path), data=data)


def _remedy(path: Path) -> str:
    is_table = path.suffix.lower() == SUFFIXES[-1]
    return "a table needs workload.text_column" if is_table else "convert it or leave it out"


def _object_documents(entry: str, folder: Path) -> list[Document]:
    target = entry.removeprefix("python:")
    if target.count(":") != 1:
        raise ConfigError(f"workload.text={entry}: write python:module:attribute")
    named = _named_texts(load_object(target, setting="workload.text", folder=folder))
    if named is None:
        raise DataError(f"workload.text={entry} is no text; it must be a str, a list of str or a dict of str")
    return [Document(name=f"{entry}[{name}]", data=_utf8(text, f"{entry}[{name}]")) for name, text in named]


def _named_texts(value: Any) -> list[tuple[str, str]] | None:
    if isinstance(value, str):
        return [("0", value)]
    if isinstance(value, Mapping):
        pairs = [(str(key), value[key]) for key in sorted(value, key=str)]
    elif isinstance(value, (list, tuple)):
        pairs = [(str(number), text) for number, text in enumerate(value)]
    else:
        return None
    return pairs if all(isinstance(text, str) for _, text in pairs) else None


def _utf8(text: str, name: str) -> bytes:
    try:
        return text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise DataError(
            f"workload.text: {name} has no UTF-8 form at character {error.start}; mend it or leave it out"
        ) from None


def _digest(documents: Sequence[Document], config: CausalLMWorkload) -> str:
    """Names the content of the cached files; names of documents do not count, their order and text do."""
    settings: dict[str, Any] = {
        "version": TEXT_VERSION,
        "tokenizer": config.tokenizer,
        "split": config.split.model_dump(),
    }
    if config.tokenizer == "bpe":
        settings |= {"vocab_size": vocab_size(config), "bpe_version": BPE_VERSION}
    digest = hashlib.sha256(json.dumps(settings, sort_keys=True).encode())
    for document in documents:
        digest.update(len(document.data).to_bytes(8, "little"))
        digest.update(document.data)
    return digest.hexdigest()


def _write(tokens: Mapping[str, Tokens], merges: bytes | None, *, target: Path) -> None:
    temporary: Path | None = None
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        failpoint("cache.before_write")
        temporary = Path(tempfile.mkdtemp(prefix=".tokens-", dir=target.parent))
        for split, array in tokens.items():
            with _synced(temporary / f"{split}.npy") as file:
                np.save(file, array, allow_pickle=False)
        if merges is not None:
            with _synced(temporary / MERGES_FILE) as file:
                file.write(merges)
        with _synced(temporary / DIGESTS_FILE) as file:
            file.write(json.dumps(digests_of(tokens, merges)).encode())
        failpoint("cache.before_rename")
        _rename(temporary, target)
        failpoint("cache.after_rename")
    except OSError as error:
        if is_disk_full(error):
            raise TryAgainLater(
                f"the disk is full: the token cache {target.parent} cannot grow; free some space and run it again"
            ) from None
        raise HomeError(
            f"the token cache {target.parent} cannot be written ({error.strerror}); choose a home folder that can"
        ) from None
    finally:
        if temporary is not None:
            shutil.rmtree(temporary, ignore_errors=True)


@contextmanager
def _synced(path: Path) -> Iterator[IO[bytes]]:
    """A file that is on the disk when it closes."""
    with path.open("wb") as file:
        yield file
        file.flush()
        failpoint("cache.before_fsync")
        os.fsync(file.fileno())


def _rename(temporary: Path, target: Path) -> None:
    try:
        temporary.rename(target)
    except OSError:
        # Another worker was first; the digest says that its content is ours.
        if not target.is_dir():
            raise


def _shown(text: str | Sequence[str]) -> str:
    return text if isinstance(text, str) else ", ".join(text)
