"""What verifying finds, as values: one check per invariant, with its counts and whatever contradicts it.

Rule: a finding says how it can be mended from rows and files alone (`mend`), or, where it cannot, what the user can do.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

Mend = Literal[
    "recompute", "drop_rows", "copy_rows", "go_back", "drop_checkpoint", "set_aside", "pin", "unpin", "free", "mirror"
]
"""The ways to mend; `repairs.py` carries them out, `mirror` excepted: that is Optuna's (D3)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """Something that is not as it should be. `target` is the id of the trial or checkpoint that `mend` is about."""

    subject: str
    problem: str
    mend: Mend | None = None
    target: int = 0
    remedy: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One invariant. `notes` are worth saying and no contradiction; what they can mend is in `mendable`."""

    name: str
    num_checked: int
    findings: tuple[Finding, ...] = ()
    notes: tuple[str, ...] = ()
    mendable: tuple[Finding, ...] = ()

    @property
    def num_ok(self) -> int:
        """How many of what was checked have no finding."""
        return self.num_checked - min(self.num_checked, len({finding.subject for finding in self.findings}))

    @property
    def is_clean(self) -> bool:
        return not self.findings


def check(name: str, num_checked: int, findings: Iterable[Finding], *, notes: Iterable[str] = ()) -> Check:
    """A check of its findings."""
    return Check(name=name, num_checked=num_checked, findings=tuple(findings), notes=tuple(notes))
