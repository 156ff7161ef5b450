"""Memory that ran out, as one error whoever noticed it: torch's devices, its CPU allocator, or Python.

The one rule: an error is memory only if it says so itself; what else may fail under pressure stays what it is.
"""

from __future__ import annotations

import gc
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

from tuner.errors import TunerError

Doing = Literal["update", "evaluation"]

_NAME = "OutOfMemoryError"
"""torch's own class of errors, by its name: who trains without torch need not import it."""

_WORDS = ("can't allocate memory", "not enough memory", "out of memory", "CUBLAS_STATUS_ALLOC_FAILED")
"""How a plain RuntimeError says it: the CPU's allocator on Linux and elsewhere, and CUDA's libraries."""


class OutOfMemory(TunerError):  # noqa: N818
    """What a run was `doing`, with `size` examples at a time, took more memory than there is.

    The run's state is void: load a checkpoint or begin anew.
    """

    def __init__(self, doing: Doing, size: int, told: str) -> None:
        super().__init__(f"out of memory in an {doing} ({told})")
        self.doing, self.size, self.told = doing, size, told

    def without_frames(self) -> OutOfMemory:
        """The same error without what led to it: a traceback keeps everything alive that the run held."""
        return OutOfMemory(self.doing, self.size, self.told)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that memory ran out."""
    if isinstance(error, MemoryError) or any(kind.__name__ == _NAME for kind in type(error).__mro__):
        return True
    return isinstance(error, RuntimeError) and any(words in str(error) for words in _WORDS)


@contextmanager
def noticing_memory(doing: Doing, size: int) -> Iterator[None]:
    """Turn what says that memory ran out into `OutOfMemory`.

    Raises:
        OutOfMemory: in place of such an error.
    """
    try:
        yield
    except Exception as error:
        if isinstance(error, OutOfMemory) or not is_out_of_memory(error):
            raise
        lines = str(error).strip().splitlines()
        raise OutOfMemory(doing, size, lines[0][:200] if lines else type(error).__name__) from None


def free_memory() -> None:
    """Give back what a failed run held, once no name refers to it; not for the loop: it waits for the device."""
    gc.collect()
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_available():
        torch.cuda.empty_cache()
