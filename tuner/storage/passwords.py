"""Database URLs and command lines without the passwords that they hold.

The one rule: only what is known to be no secret is shown, so that a URL which we cannot take apart shows nothing.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Sequence

from sqlalchemy import URL, make_url
from sqlalchemy.exc import ArgumentError

HIDDEN = "***"
OPTION = "--storage"
OPEN_SETTINGS = frozenset(
    ("host", "hostaddr", "port", "user", "dbname", "sslmode", "connect_timeout", "timeout", "mode")
)
"""Settings after the `?` of a URL whose values are shown; all others might be secrets, as `password` is."""


def without_password(url: str | URL) -> str:
    """A database URL as messages and tables may hold it.

    >>> without_password("postgresql://me:secret@host/studies?sslmode=require&password=other")
    'postgresql://me:***@host/studies?password=***&sslmode=require'
    >>> without_password("host=localhost password=secret")
    '***'
    """
    try:
        parsed = make_url(url)
    except (ArgumentError, ValueError):
        return str(url) if isinstance(url, str) and re.fullmatch(r"[\w./~ -]+", url) else HIDDEN
    if has_stray_at(parsed):
        return f"{parsed.get_backend_name()}://{HIDDEN}"
    query = {key: value if key in OPEN_SETTINGS else HIDDEN for key, value in parsed.query.items()}
    # The stars of a setting would be escaped: they are no part of a URL that anybody opens.
    return parsed.set(query=query).render_as_string(hide_password=True).replace("%2A%2A%2A", HIDDEN)


def has_stray_at(url: URL) -> bool:
    """Whether an unescaped @ in a password made a part of it look like the host, the port or the database."""
    return any("@" in part for part in (url.host or "", url.database or "")) and url.get_backend_name() != "sqlite"


def told_command(arguments: Sequence[str]) -> str:
    """A command line as it is kept: quoted for the shell, `--storage` without its password.

    >>> told_command(["run", "my study.yaml", "--storage", "postgresql://me:secret@host/studies"])
    "tuner run 'my study.yaml' --storage 'postgresql://me:***@host/studies'"
    """
    # Bytes that are no UTF-8 reach us as halves of characters, which no database keeps.
    return shlex.join(part.encode("utf-8", "backslashreplace").decode() for part in ("tuner", *_hidden(arguments)))


def _hidden(arguments: Sequence[str]) -> Iterator[str]:
    is_url = False
    for argument in arguments:
        option, equals, url = argument.partition("=")
        if is_url:
            yield without_password(argument)
        elif option == OPTION and equals:
            yield f"{OPTION}={without_password(url)}"
        else:
            yield argument
        is_url = not is_url and argument == OPTION
