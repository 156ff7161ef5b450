"""What a study's workers have spent so far: handed to the protocol as plain numbers, so that it stays pure.

A decision keeps the numbers that it was made from; they are never measured again for it (D8).
"""

from __future__ import annotations

from dataclasses import dataclass

SECONDS_PER_HOUR = 3600.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """Updates carried out so far, and the seconds of workers that they took with evaluations, checkpoints and setup."""

    num_steps: int = 0
    worker_seconds: float = 0.0

    @property
    def seconds_per_step(self) -> float | None:
        """Seconds of one worker for one update, with its share of all else; None before any was measured."""
        if self.num_steps <= 0 or self.worker_seconds <= 0:
            return None
        return self.worker_seconds / self.num_steps


NOTHING_MEASURED = Measured()
