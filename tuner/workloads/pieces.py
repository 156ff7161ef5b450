"""Long documents in pieces, so that one book can be split into train, validation and test.

The one rule: pieces end at line ends and lose nothing: joined again they are the document.
"""

from __future__ import annotations

from itertools import pairwise


def cut_at_lines(data: bytes, num_pieces: int) -> list[bytes]:
    r"""UTF-8 text in at most `num_pieces` pieces of about equal length; none is empty.

    A stretch without a line end is cut between two characters.

    >>> cut_at_lines(b"one\ntwo\nthree\nfour\n", 2)
    [b'one\ntwo\nthree\n', b'four\n']
    """
    bounds = [0, *(_cut_after(data, len(data) * piece // num_pieces) for piece in range(1, num_pieces)), len(data)]
    bounds = sorted(set(bounds))
    return [data[start:stop] for start, stop in pairwise(bounds)]


def _cut_after(data: bytes, place: int) -> int:
    """The first line end at or after `place`, or, with none left, the next start of a character."""
    line_end = data.find(b"\n", max(0, place - 1))
    if line_end >= 0:
        return line_end + 1
    while place < len(data) and data[place] & 0xC0 == 0x80:
        place += 1
    return place
