"""One life of a toy study: a `tuner` process, born in the nursery of this process of tests.

The one rule: as far as the tests look, a `Life` is a `Popen` whose output goes to a file.
"""

from __future__ import annotations

import atexit
import json
import os
import select
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
ROOT = HERE.parents[1]


class Life:
    """A process that leads a process group of its own: `tuner`, or a function of these tests by `module:name`.

    `returncode` is None as long as it lives, as far as known.
    """

    def __init__(
        self, arguments: list[str], *, folder: Path, environment: dict[str, str] | None = None, entry: str = "tuner"
    ) -> None:
        self._log = folder / "said.txt"
        self._nursery = _nursery()
        self._from = self._log.stat().st_size if self._log.exists() else 0
        self.pid = self._nursery.bear(
            {
                "entry": entry,
                "arguments": arguments,
                "folder": str(folder),
                "log": str(self._log),
                "environment": environment or {},
            }
        )
        self.returncode: int | None = None

    def poll(self) -> int | None:
        """The exit code, negative for a signal; None while the process lives."""
        if self.returncode is None:
            self.returncode = self._nursery.code_of(self.pid, seconds=0.0)
        return self.returncode

    def wait(self) -> int:
        """Until it ends."""
        while self.returncode is None:
            self.returncode = self._nursery.code_of(self.pid, seconds=1.0)
        return self.returncode

    def communicate(self) -> tuple[str, None]:
        """Until it ends; what it said."""
        self.wait()
        with self._log.open(errors="replace") as log:
            log.seek(self._from)
            return log.read(), None


class _Nursery:
    """The process that bears the others; it ends with this one."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, str(HERE / "nursery.py")],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            bufsize=0,
            env=os.environ
            | {"NO_COLOR": "1", "PYTHONPATH": f"{ROOT}:{HERE}:{ROOT / 'tests/storage'}", "OPENBLAS_NUM_THREADS": "1"},
        )
        self._codes: dict[int, int] = {}
        self._unread = b""
        assert "ready" in self._hear(None)
        atexit.register(self.close)

    def bear(self, life: dict[str, Any]) -> int:
        assert self._process.stdin is not None
        self._process.stdin.write((json.dumps(life) + "\n").encode())
        while True:
            message = self._hear(None)
            if "born" in message:
                self._codes.pop(message["born"], None)
                return int(message["born"])
            self._note(message)

    def code_of(self, pid: int, *, seconds: float) -> int | None:
        while pid not in self._codes:
            message = self._hear(seconds)
            if not message:
                return None
            self._note(message)
        return self._codes[pid]

    def close(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()

    def _note(self, message: dict[str, Any]) -> None:
        self._codes[message["died"]] = message["code"]

    def _hear(self, seconds: float | None) -> dict[str, Any]:
        """The next message; nothing if there is none within so many seconds."""
        assert self._process.stdout is not None
        while b"\n" not in self._unread:
            if seconds is not None and not select.select([self._process.stdout], [], [], seconds)[0]:
                return {}
            heard = os.read(self._process.stdout.fileno(), 65536)
            assert heard, "the nursery died"
            self._unread += heard
        line, _, self._unread = self._unread.partition(b"\n")
        message: dict[str, Any] = json.loads(line)
        return message


@cache
def _nursery() -> _Nursery:
    return _Nursery()
