"""The byte tokenizer of `text.py` as a `tokenizers` file, so that `AutoTokenizer` gives the ids of training.

The one rule: the id of a byte is its value, and `END_OF_DOCUMENT` comes from nowhere but its own id. Text that happens
to contain the token's name is encoded by its bytes, as in training (`split_special_tokens`).
"""

from __future__ import annotations

from pathlib import Path

from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from tuner.workloads.text import END_OF_DOCUMENT

END_OF_DOCUMENT_NAME = "<|endoftext|>"


def save_byte_tokenizer(folder: Path, *, model_max_length: int) -> None:
    """Write `tokenizer.json` and `tokenizer_config.json`.

    Equal to training for every text that has a UTF-8 form; training refuses files that are not UTF-8, and a `str` with
    lone surrogates has no bytes to encode. It appends no end of document: a document of training is
    `tokenizer(text).input_ids + [tokenizer.eos_token_id]`.
    """
    tokenizer = Tokenizer(models.BPE(vocab={char: byte for byte, char in byte_characters().items()}, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.decoder = decoders.ByteLevel()
    save_tokenizer(tokenizer, folder, model_max_length=model_max_length)


def save_tokenizer(tokenizer: Tokenizer, folder: Path, *, model_max_length: int) -> None:
    """Write a byte-level tokenizer with its end of document, which no text produces."""
    tokenizer.add_special_tokens([AddedToken(END_OF_DOCUMENT_NAME, special=True, normalized=False)])
    assert tokenizer.token_to_id(END_OF_DOCUMENT_NAME) == END_OF_DOCUMENT, "the 256 bytes come first"
    PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]
        tokenizer_object=tokenizer,
        bos_token=END_OF_DOCUMENT_NAME,
        eos_token=END_OF_DOCUMENT_NAME,
        model_max_length=model_max_length,
        split_special_tokens=True,
        clean_up_tokenization_spaces=False,
    ).save_pretrained(folder)


def byte_characters() -> dict[int, str]:
    """The printable character that stands for each byte in byte-level vocabularies (GPT-2's table).

    Bytes that print in Latin-1 stand for themselves, the others for the characters from 256 on, in order.
    """
    printing = {*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)}
    others = [byte for byte in range(256) if byte not in printing]
    return {byte: chr(byte) if byte in printing else chr(256 + others.index(byte)) for byte in range(256)}
