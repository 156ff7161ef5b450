"""stdout and stderr as they are: terminals that know ASCII alone, and readers that leave early.

Rule: what cannot be shown is spelled otherwise, and nobody's having stopped reading ends a study.
"""

from __future__ import annotations

import codecs
import os
import select
import sys
from contextlib import suppress

STAND_INS = {"–": "-", "—": "-", "█": "#", "▒": ":", "≤": "<=", "±": "+-", "…": "...", "·": "-", "─": "-", "━": "-"}
ERRORS = "tuner.stand_ins"


def stand_ins(error: UnicodeError) -> tuple[str, int]:
    """A codec's error handler: a likeness for the characters that we draw with, escapes for all others.

    >>> codecs.register_error(ERRORS, stand_ins)
    >>> "██ – ü".encode("ascii", ERRORS)
    b'## - \\\\u00fc'
    """
    if not isinstance(error, UnicodeEncodeError):
        raise error
    return "".join(STAND_INS.get(char) or _escaped(char) for char in error.object[error.start : error.end]), error.end


def prepare_streams() -> None:
    """Let no character stop a command: stdout and stderr spell what their encoding lacks."""
    codecs.register_error(ERRORS, stand_ins)
    for stream in (sys.stdout, sys.stderr):
        reconfigure = getattr(stream, "reconfigure", None)
        if reconfigure is not None:
            with suppress(OSError, ValueError):
                reconfigure(errors=ERRORS)


def is_reader_gone() -> bool:
    """Whether nobody reads stdout any more; what is left for it then goes nowhere, also when Python exits."""
    if sys.stdout is None:
        return False  # It was closed before the start: what is said went nowhere from the first.
    with suppress(OSError, ValueError):
        try:
            sys.stdout.flush()
            # A failed write may have emptied the buffer: then only the pipe itself knows.
            is_gone = any(event & select.POLLERR for _, event in _poll(sys.stdout.fileno()))
        except BrokenPipeError:
            is_gone = True
        if is_gone:
            _silence()
        return is_gone
    return False


def say(line: str) -> None:
    """A line on stderr; nothing happens if nobody can read it."""
    with suppress(OSError, ValueError):
        print(line, file=sys.stderr, flush=True)


def _poll(descriptor: int) -> list[tuple[int, int]]:
    poll = select.poll()
    poll.register(descriptor, select.POLLERR)
    return poll.poll(0)


def _silence() -> None:
    with suppress(OSError, ValueError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())
        os.close(nowhere)


def _escaped(char: str) -> str:
    """As JSON escapes it, so that `--json` stays exact: characters beyond the first plane as two halves."""
    units = char.encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{units[at]:02x}{units[at + 1]:02x}" for at in range(0, len(units), 2))
