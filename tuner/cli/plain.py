"""Strings from users and databases, made safe to print on a terminal. Everything printed goes through `plain`."""

from __future__ import annotations


def plain(text: str) -> str:
    """The text with control characters (escape sequences, line breaks) written out instead of obeyed."""
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode("ascii") for char in text)
