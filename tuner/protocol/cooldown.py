"""`budget_sweep.cooldown`: rates compared after a short decay, where none of them fitted.

A high constant rate hides its progress until it decays (arXiv:2410.05192). So the rates on the longest rung are forked
at its end, decay linearly over 10 % of it (ours), and the lowest validation loss after that names the best rate
(PROTOCOL 2, item 7). Cooldowns only measure: they are no candidates for the answer.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

from tuner.protocol.standings import learning_rate_of
from tuner.protocol.words import json_safe, number, steps
from tuner.records import (
    VALIDATION,
    ClosePhase,
    Decision,
    Json,
    Move,
    OpenPhase,
    PhasePlan,
    PhaseRecord,
    ScheduleSpec,
    StudyRecord,
    TrialPlan,
    TrialRecord,
    Wait,
)

COOLDOWN: Final = "budget_sweep.cooldown"
COOLDOWN_SHARE: Final = 0.1
"""Length of the decay as a share of the rung that it follows (ours)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BestRate:
    """The best rate of a sweep in which none fitted, in words and in numbers."""

    told: str
    numbers: dict[str, Json]


def cooldown_of(study: StudyRecord) -> PhaseRecord | None:
    """The study's cooldown; None if there is none yet."""
    return next((phase for phase in study.phases if phase.plan.kind == "cooldown"), None)


def cooldown_steps(rung: int) -> int:
    """Updates of the decay after a rung."""
    return max(1, round(COOLDOWN_SHARE * rung))


def advance_cooldown(study: StudyRecord, *, sweep: PhaseRecord) -> Move | None:
    """Wait for the cooldown, close it; None when it is done."""
    opened = cooldown_of(study)
    if opened is None or opened.is_closed:
        return None
    if not all(trial.is_ended for trial in opened.trials):
        return Wait()
    best = best_rate(study, sweep)
    decision = Decision(
        kind="cooldown",
        phase=COOLDOWN,
        reason=f"Best rate after the cooldown: {best.told} (playbook, Step 1a).",
        numbers=json_safe(best.numbers),
    )
    return ClosePhase(phase=COOLDOWN, verdict="measured", reason=f"Best rate: {best.told}.", decisions=(decision,))


def best_rate(study: StudyRecord, sweep: PhaseRecord) -> BestRate:
    """The rate with the lowest validation loss at the end of its cooldown; of the sweep itself if none was feasible."""
    opened = cooldown_of(study)
    cooled = [] if opened is None else _last_losses(study, [t for t in opened.trials if t.is_feasible])
    losses = cooled or _last_losses(study, _on_longest_rung(sweep))
    if not losses:
        return BestRate(told="unknown, since no rate measured a validation loss", numbers={"learning_rate": None})
    loss, rate = min(losses)
    how = "after its cooldown" if cooled else "at the end of the sweep, since no cooldown was feasible"
    told = f"{number(rate)}, with the lowest validation loss {how} ({number(loss)} among {len(losses)})"
    rates = [learning_rate_of(t) for t in sweep.trials if t.outcome is None or t.outcome.kind != "crashed"]
    is_edge = rate in (min(rates), max(rates))
    if is_edge:
        told += "; it lies on the edge of the grid, so that a better one may lie beyond it"
    table = [{"learning_rate": each, "validation_loss": value} for value, each in sorted(losses, key=lambda p: p[1])]
    return BestRate(told=told, numbers={"learning_rate": rate, "is_edge": is_edge, "validation_losses": table})


def open_cooldown(sweep: PhaseRecord, before: tuple[Decision, ...]) -> OpenPhase:
    """Fork the rates on the longest rung; `before` are the decisions that led to it."""
    going = _on_longest_rung(sweep)
    rung = going[0].last_step
    length = cooldown_steps(rung)
    trials = tuple(
        TrialPlan(
            number=place,
            params=dict(trial.params),
            spec=replace(
                trial.spec,
                max_train_steps=rung + length,
                schedule=ScheduleSpec(
                    kind="warmup_stable_decay",
                    warmup_steps=trial.spec.schedule.warmup_steps,
                    decay_steps=length,
                    decay_shape="linear",
                ),
            ),
        )
        for place, trial in enumerate(going)
    )
    rates = sorted(learning_rate_of(trial) for trial in going)
    reason = (
        f"No rate ended the sweep: {', '.join(number(rate) for rate in rates)} go on from {steps(rung)} with a linear "
        f"decay of {length:,}, since a constant rate hides its progress; the lowest validation loss names the best "
        "(playbook, Step 1a)."
    )
    numbers = {"from_steps": rung, "decay_steps": length, "learning_rates": rates}
    decision = Decision(kind="cooldown_opened", phase=COOLDOWN, reason=reason, numbers=json_safe(numbers))
    plan = PhasePlan(name=COOLDOWN, kind="cooldown", max_train_steps=rung + length, eval=sweep.plan.eval)
    return OpenPhase(plan=plan, trials=trials, decisions=(*before, decision))


def _on_longest_rung(sweep: PhaseRecord) -> list[TrialRecord]:
    """The rates that reached the end of the longest rung, in order of their number."""
    rung = max((t.last_step for t in sweep.trials if t.outcome is None), default=0)
    return [trial for trial in sweep.trials if trial.outcome is None and trial.last_step == rung]


def _last_losses(study: StudyRecord, trials: list[TrialRecord]) -> list[tuple[float, float]]:
    curves = [(study.curve(trial.trial, VALIDATION, "loss"), learning_rate_of(trial)) for trial in trials]
    return [(curve[-1][1], rate) for curve, rate in curves if curve]
