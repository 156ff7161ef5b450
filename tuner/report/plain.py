"""Text from users and databases made safe to show: on a terminal, in JSON, on a page.

The one rule: what a terminal or a browser would obey (escape sequences, line breaks, marks that turn the direction of
writing) is written out instead; nothing is dropped.
"""

from __future__ import annotations

import re

CONTROLS = re.compile("[\0-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
"""What no page shows: control characters but tabs and line ends, changes of direction, halves of characters."""


def plain(text: str) -> str:
    """One line for a terminal: every character that does not print is written out.

    >>> plain("a\\x1b[31m\\nb")
    'a\\\\x1b[31m\\\\nb'
    """
    return "".join(char if char.isprintable() else _written_out(char) for char in text)


def plain_json(text: str) -> str:
    """JSON of the same value in which nothing but line ends and printable characters stands."""
    return "".join(char if char == "\n" or char.isprintable() else _json_escape(char) for char in text)


def plain_page(html: str) -> str:
    """A page without what would be obeyed or could not be written; other alphabets and emoji stay as they are."""
    return CONTROLS.sub(lambda found: _written_out(found[0]), html)


def _written_out(char: str) -> str:
    return char.encode("unicode_escape").decode("ascii")


def _json_escape(char: str) -> str:
    units = char.encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{units[at]:02x}{units[at + 1]:02x}" for at in range(0, len(units), 2))
