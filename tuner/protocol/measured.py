"""What a study's workers have spent so far: handed to the protocol as plain numbers, so that it stays pure.

A decision keeps the numbers that it was made from; they are never measured again for it (D8).
"""

from __future__ import annotations

from dataclasses import dataclass, replace

SECONDS_PER_HOUR = 3600.0


def makespan(total: float, *, longest: float, num_workers: int) -> float:
    """How long workers take at most for work whose largest piece is `longest`, if none idles while a piece waits.

    The last piece may begin when all others are done (Graham, 1969: any list schedule).

    >>> makespan(5.0, longest=1.0, num_workers=2)
    3.0
    """
    return (total + (num_workers - 1) * longest) / num_workers


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """Updates carried out so far, and the seconds of workers that they took with evaluations, checkpoints and setup.

    `training_seconds` are those of `worker_seconds` that went into updates and evaluations alone. `elapsed_seconds` is
    the time of all runs of the study, without what lay between them; `num_workers` share the work. Runs share what
    they have in common unless `shares` is false (`--no-sharing`).
    """

    num_steps: int = 0
    worker_seconds: float = 0.0
    training_seconds: float = 0.0
    elapsed_seconds: float = 0.0
    num_workers: int = 1
    shares: bool = True

    @property
    def seconds_per_step(self) -> float | None:
        """Seconds of one worker for one update, with its share of all else; None before any was measured."""
        if self.num_steps <= 0 or self.worker_seconds <= 0:
            return None
        return self.worker_seconds / self.num_steps

    def seconds_for(self, num_steps: float, *, longest: float = 0.0) -> float | None:
        """Seconds that all workers together need for so many updates at most, `longest` of them one after the other."""
        each = self.seconds_per_step
        return None if each is None else makespan(num_steps, longest=longest, num_workers=self.num_workers) * each

    def training_only(self) -> Measured:
        """The same without setup and checkpoints, which are most of it while few steps were measured."""
        return replace(self, worker_seconds=self.training_seconds or self.worker_seconds)


NOTHING_MEASURED = Measured()
