"""What measuring and keeping cost beside training, with the share that each should stay under.

Rule: a share is of the seconds of training, over all workers; a bound that is crossed names the setting that helps.
"""

from __future__ import annotations

from collections.abc import Mapping

MAX_EVAL_SHARE, MAX_CHECKPOINT_SHARE = 0.10, 0.05
"""PROTOCOL.md 3 has at most a tenth of a trial's time spent on evaluation; the other is ours."""

WORTH_SECONDS = 300.0
"""Evaluations of small models are always a large part: below five minutes of all workers little is to be won (ours)."""

LESS_EVALUATION = "a larger evaluation.every_steps or a smaller evaluation.max_validation_examples lowers it"
FEWER_CHECKPOINTS = "a larger execution.checkpoint_every_steps, or evaluation.every_steps (each commits), lowers it"


def shares_line(seconds: Mapping[str, float]) -> str | None:
    """Both shares in one line; None while nothing was trained."""
    if seconds["train"] <= 0:
        return None
    evaluation, checkpoints = _share(seconds, "eval"), _share(seconds, "checkpoint")
    return (
        f"evaluation {_percent(evaluation)} of training time (at most {_percent(MAX_EVAL_SHARE)}), "
        f"checkpoints and commits {_percent(checkpoints)} (at most {_percent(MAX_CHECKPOINT_SHARE)})"
    )


def warnings(seconds: Mapping[str, float]) -> tuple[str, ...]:
    """A sentence for each bound that is crossed by so much that it is worth a change."""
    if seconds["train"] <= 0:
        return ()
    told = (
        ("Evaluation took", "eval", MAX_EVAL_SHARE, LESS_EVALUATION),
        ("Checkpoints and commits took", "checkpoint", MAX_CHECKPOINT_SHARE, FEWER_CHECKPOINTS),
    )
    return tuple(
        f"{what} {_percent(_share(seconds, account))} of training time, more than {_percent(bound)}: {remedy}."
        for what, account, bound, remedy in told
        if seconds[account] - bound * seconds["train"] > WORTH_SECONDS
    )


def _share(seconds: Mapping[str, float], account: str) -> float:
    return seconds[account] / seconds["train"]


def _percent(share: float) -> str:
    # Never rounded onto a bound that it crosses.
    return f"{100 * share:.1f} %".replace(".0 %", " %")
