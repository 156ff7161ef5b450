"""Rules over `round_2` and `rounds`: written one way, ideas that only die, and extensions that the schedule has."""

from __future__ import annotations

from collections.abc import Iterator

from tuner.config.problems import KeyPath, Problem
from tuner.config.schedule_rules import PLATEAU
from tuner.config.schema import LaterRound, StudyConfig

MAX_ROUNDS = 10
SCHEDULE: KeyPath = ("training", "schedule")


def round_problems(config: StudyConfig) -> Iterator[Problem]:
    """What the rounds after round 1 say that contradicts itself, the round before, or the schedule."""
    if config.rounds is not None and config.round_2 is not None:
        message = (
            "stands beside rounds, of which it is the short form; remove it, and say it in the first item, rounds.0"
        )
        yield Problem(path=("round_2",), message=message, cause=("rounds",))
        return
    if len(config.later_rounds) > MAX_ROUNDS:
        message = (
            f"{len(config.later_rounds)} rounds are more than {MAX_ROUNDS}; one to three are practical, remove some"
        )
        yield Problem(path=("rounds",), message=message)
        return
    before, num_before = "round_1.num_trials", config.round_1.num_trials
    for place, item in enumerate(config.later_rounds):
        path: KeyPath = ("round_2",) if config.rounds is None else ("rounds", place)
        if item.num_trials > num_before:
            yield Problem(
                path=(*path, "num_trials"),
                message=f"{item.num_trials} is more than {before}={num_before}; a round extends the best points of the "
                "one before, so lower it or raise that",
            )
        yield from _extension_problems(config, item, path)
        before, num_before = f"{'.'.join(str(part) for part in path)}.num_trials", item.num_trials


def _extension_problems(config: StudyConfig, item: LaterRound, path: KeyPath) -> Iterator[Problem]:
    schedule = config.training.schedule
    message = None
    if item.extend == "cosine" and schedule == PLATEAU:
        message = (
            f"cosine with a plateau extension: training.schedule {schedule} has a plateau, which takes the extra "
            "steps, and no horizon to stretch; use extend: constant, or schedule: cosine or linear"
        )
    elif item.extend == "constant" and schedule != PLATEAU:
        message = (
            f"constant lengthens a plateau, which training.schedule {schedule} has not; use extend: cosine, or "
            f"schedule: {PLATEAU}"
        )
    if message is not None:
        yield Problem(path=(*path, "extend"), message=message, cause=SCHEDULE)
