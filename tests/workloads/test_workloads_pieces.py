"""Long texts in pieces: nothing is lost, lines stay whole, and one file is enough for a study."""

from __future__ import annotations

import random

import pytest

from tuner.config.schema import CausalLMWorkload
from tuner.workloads.pieces import cut_at_lines
from tuner.workloads.text import END_OF_DOCUMENT, load_tokens


def test_pieces_joined_are_the_document_and_end_at_line_ends():
    generator = random.Random(0)
    for _ in range(300):
        lines = ["é" * generator.randrange(30) + "\n" for _ in range(generator.randrange(40))]
        data = ("".join(lines) + "x" * generator.randrange(3)).encode()
        pieces = cut_at_lines(data, generator.randrange(1, 12))
        assert b"".join(pieces) == data
        assert all(pieces)
        assert not data.endswith(b"\n") or all(piece.endswith(b"\n") for piece in pieces)


def test_text_without_line_ends_is_cut_between_characters():
    pieces = cut_at_lines(("é" * 100).encode(), 7)
    assert len(pieces) == 7
    assert "".join(piece.decode() for piece in pieces) == "é" * 100
    assert max(map(len, pieces)) - min(map(len, pieces)) <= 4


@pytest.mark.parametrize("num_pieces", [1, 5])
def test_empty_and_short_texts_give_no_empty_piece(num_pieces):
    assert cut_at_lines(b"", num_pieces) == []
    assert cut_at_lines(b"a", num_pieces) == [b"a"]


def test_one_file_in_pieces_is_enough_for_three_splits(tmp_path):
    text = "".join(f"line {number} of a book\n" for number in range(400))
    (tmp_path / "book.txt").write_text(text)
    config = CausalLMWorkload(kind="causal_lm", text="book.txt", block_size=16, num_pieces=20)
    found = load_tokens(config, folder=tmp_path, cache=tmp_path / "cache")
    tokens = found.tokens
    # Caches of earlier versions stay valid, and with them the recipes of their studies.
    assert found.digest == "b4e22bd5fa3f7dee60b567564c0ec4e9b303b30d1e9e1698a2bf01172e4bdb6c"
    assert [int((split == END_OF_DOCUMENT).sum()) for split in tokens.values()] == [16, 2, 2]
    assert sum(map(len, tokens.values())) == len(text) + 20
