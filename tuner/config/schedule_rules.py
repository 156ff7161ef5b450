"""Rules over `training.schedule`: what needs the plateau that linear and cosine schedules do not have, or its averages.

A plateau is what longer runs share (PROTOCOL.md 3 and 8); without one nothing can be forked, and no decay be set apart.
"""

from __future__ import annotations

from collections.abc import Iterator

from tuner.config.problems import Problem
from tuner.config.schema import Round1, StudyConfig, Training

PLATEAU = "warmup_stable_decay"


def averages_problems(config: StudyConfig) -> Iterator[Problem]:
    """What judges by averaged weights, in a study that measures none."""
    if config.evaluation.averaged_horizons:
        return
    cause, remedy = ("evaluation", "averaged_horizons"), "which evaluation.averaged_horizons=[] does not measure"
    if config.round_1.adjust == "averaged":
        yield Problem(
            path=("round_1", "adjust"),
            message=f"averaged reads averaged weights, {remedy}; use adjust: probe, or averaged_horizons: [50, 200]",
            cause=cause,
        )
    if config.frontier is not None and config.frontier.proxy:
        yield Problem(
            path=("frontier", "proxy"),
            message=f"true reads averaged weights, {remedy}; remove it, or use averaged_horizons: [50, 200]",
            cause=cause,
        )


def schedule_problems(config: StudyConfig) -> Iterator[Problem]:
    """Settings that a schedule without a plateau rules out; defaults that have no effect there are no mistake."""
    training, round_1 = config.training, config.round_1
    if training.schedule == PLATEAU:
        return
    given, cause = f"training.schedule {training.schedule}", ("training", "schedule")
    if round_1.adjust in ("probe", "averaged"):
        yield Problem(
            path=("round_1", "adjust"),
            message=f"{round_1.adjust} goes on from a plateau, which {given} has not; use adjust: raw or none, or "
            f"schedule: {PLATEAU}",
            cause=cause,
        )
    if config.frontier is not None:
        yield Problem(
            path=("frontier",),
            message=f"forks cooldowns off a plateau, which {given} has not; remove it, or use schedule: {PLATEAU}",
            cause=cause,
        )
    for name in ("decay_share", "decay_shape"):
        if getattr(training, name) != Training.model_fields[name].default:
            yield Problem(
                path=("training", name),
                message=f"has no effect on {given}, which decays from warmup to the end; remove it, or use schedule: "
                f"{PLATEAU}",
                cause=cause,
            )
    if round_1.decay_shares not in ((), Round1.model_fields["decay_shares"].default):
        yield Problem(
            path=("round_1", "decay_shares"),
            message=f"tunes the decay after a plateau, which {given} has not; remove it, or use schedule: {PLATEAU}",
            cause=cause,
        )
