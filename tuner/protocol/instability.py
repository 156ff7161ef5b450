"""What to do about instability: warmup and clipping as settings to try, proposed where training turns unstable.

After "How can optimization failures be debugged and mitigated?" (PROTOCOL 6). Proposed, never done: both change the
recipe, so that they are another study's. A decision is committed when a sweep or a round 1 ends with infeasible trials
next to its best rate, or with many.
"""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Final

from tuner.analysis.instability import (
    BASE_RATE_FACTOR,
    FREQUENT_SHARE,
    MOST_CLIPPED,
    NEAR_FACTOR,
    LoggedNorms,
    Warmup,
    budget_for,
    gradient_norms,
    unstable_next_to,
    warmups_to_try,
)
from tuner.analysis.steps_to_fit import truncate
from tuner.config.schema import StudyConfig
from tuner.config.spaces import setting_of
from tuner.protocol.collapsed import outcome_after
from tuner.protocol.replicas import leader
from tuner.protocol.rounds import feasible
from tuner.protocol.standings import learning_rate_of
from tuner.protocol.words import json_safe, number, steps
from tuner.records import (
    UPDATES,
    ClosePhase,
    Decision,
    GiveUp,
    Json,
    Move,
    Outcome,
    PhaseRecord,
    StudyRecord,
    TrialRecord,
)

INSTABILITY: Final = "instability"
LISTED_RATES: Final = "search_space.learning_rate"
"""The setting whose rates depend on another one: several ranges, of which no single bound can be named."""
CITED: Final = " (playbook, How can optimization failures be debugged and mitigated?)."

PROPOSED_AFTER = ("budget_sweep", "round_1")


def with_proposals(config: StudyConfig, study: StudyRecord, move: Move) -> Move:
    """The move, with what to try if the phase that it ends was unstable near its best rate, or often."""
    if isinstance(move, ClosePhase):
        phase = study.phase(move.phase)
        outcomes = {t.trial: outcome for t in phase.trials if (outcome := outcome_after(t, move)) is not None}
    elif isinstance(move, GiveUp) and study.phases:
        phase = study.phases[-1]
        outcomes = {t.trial: t.outcome for t in phase.trials if t.outcome is not None}
        is_hopeless = len(outcomes) == len(phase.trials) and not any(o.kind == "complete" for o in outcomes.values())
        if phase.is_closed or not is_hopeless:
            return move
    else:
        return move
    if phase.plan.kind not in PROPOSED_AFTER:
        return move
    found = _seen(study, phase, outcomes=outcomes, move=move)
    decision = None if found is None else _propose(config, study, phase, found)
    return move if decision is None else replace(move, decisions=(*move.decisions, decision))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Seen:
    """How stable a phase was. Rates are None where there is none: no best one, or none unstable above it."""

    by_kind: Mapping[str, int]
    num_trials: int
    budget: int
    best_rate: float | None
    unstable_rate: float
    is_next_to_best: bool
    highest_stable: float | None
    warmup_steps: int
    norms: LoggedNorms | None

    @property
    def num_infeasible(self) -> int:
        return sum(self.by_kind.values())

    @property
    def is_frequent(self) -> bool:
        return self.num_infeasible >= FREQUENT_SHARE * self.num_trials


def _seen(study: StudyRecord, phase: PhaseRecord, *, outcomes: Mapping[int, Outcome], move: Move) -> _Seen | None:
    """None for a phase without an infeasible trial, or one whose loss was never finite: that is no matter of rates."""
    judged = [t for t in phase.trials if t.trial in outcomes and outcomes[t.trial].kind != "crashed"]
    bad = {trial.trial for trial in judged if outcomes[trial.trial].kind == "infeasible"}
    if not bad or not any(trial.num_evals for trial in judged):
        return None
    best_rate, budget = _best(study, phase, move)
    alike = _alike(judged, bad, best_rate)
    rates = [(learning_rate_of(trial), trial.trial in bad) for trial in alike]
    neighbour = None if best_rate is None else unstable_next_to(best_rate, rates)
    if not any(is_bad for _, is_bad in rates):
        rates = [(learning_rate_of(trial), trial.trial in bad) for trial in judged]
    lowest = min(rate for rate, is_bad in rates if is_bad)
    unstable = neighbour or min((r for r, is_bad in rates if is_bad and r > (best_rate or 0.0)), default=lowest)
    near = [
        t for t in alike if t.trial not in bad and best_rate is not None and _is_near(learning_rate_of(t), best_rate)
    ]
    return _Seen(
        by_kind=Counter(outcomes[trial].reason for trial in sorted(bad)),
        num_trials=len(judged),
        budget=budget,
        best_rate=best_rate,
        unstable_rate=unstable,
        is_next_to_best=neighbour is not None,
        highest_stable=max((rate for rate, is_bad in rates if not is_bad and rate < unstable), default=None),
        warmup_steps=max(trial.spec.schedule.warmup_steps for trial in judged if trial.trial in bad),
        norms=_norms(study, near, truncate_at=getattr(move, "truncate_at", None)),
    )


def _alike(judged: list[TrialRecord], bad: set[int], best_rate: float | None) -> list[TrialRecord]:
    """Trials whose rates compare with the best one: those of its optimizer."""
    first = next((t for t in judged if t.trial not in bad and learning_rate_of(t) == best_rate), None)
    return [t for t in judged if first is None or t.spec.optimizer.name == first.spec.optimizer.name]


def _norms(study: StudyRecord, near: list[TrialRecord], *, truncate_at: int | None) -> LoggedNorms | None:
    """As logged near the best rate; under the exact stop only up to there, whatever was overshot in parallel."""
    p90, clipped = (
        [truncate(study.curve(trial.trial, UPDATES, metric), truncate_at) for trial in near]
        for metric in ("grad_norm_p90", "clipped_share")
    )
    return gradient_norms(p90, clipped)


def _best(study: StudyRecord, phase: PhaseRecord, move: Move) -> tuple[float | None, int]:
    """The best rate of the phase and the budget that proposals are for."""
    if phase.plan.is_sweep:
        decided = next((d for d in getattr(move, "decisions", ()) if d.kind == "budget"), None)
        if decided is None:
            return None, phase.plan.max_train_steps
        rate = decided.numbers.get("learning_rate")
        return (None if rate is None else float(rate)), int(decided.numbers["max_train_steps"])
    rate = leader(phase).spec.learning_rate if feasible(phase) else None
    return rate, phase.plan.max_train_steps


def _is_near(rate: float, best: float) -> bool:
    return best / NEAR_FACTOR <= rate <= best * NEAR_FACTOR


def _propose(config: StudyConfig, study: StudyRecord, phase: PhaseRecord, found: _Seen) -> Decision | None:
    """The proposals in words, as settings, and with their numbers; None where instability is far away and rare."""
    # A sweep goes too high on purpose: there only the neighbour of the best rate counts, or that none is left.
    is_often = found.best_rate is None if phase.plan.is_sweep else found.is_frequent
    if not found.is_next_to_best and not is_often:
        return None
    base_rate = BASE_RATE_FACTOR * found.unstable_rate
    warmups = warmups_to_try(found.budget, longer_than=found.warmup_steps)
    clip, told_clip, lower = _clipping(config, found)
    settings = [f"training.warmup_steps={warmup.warmup_steps}" for warmup in warmups]
    settings += [f"training.max_grad_norm={number(clip)}"] if clip is not None else []
    settings += [lower] if lower else []
    kinds = ", ".join(f"{count} {kind}" for kind, count in sorted(found.by_kind.items()))
    reason = (
        f"Unstable: {found.num_infeasible} of {found.num_trials} trials of {phase.name} are infeasible ({kinds})"
        f"{_where(found)}. Proposed: {_warmups(config, found, warmups, base_rate=base_rate)}; or {told_clip}. A recipe "
        f"change needs a new study name"
    )
    if settings:
        reason += f": tuner run STUDY.yaml {shlex.quote(f'study={study.name}-stable')} {settings[0]}"
    numbers: dict[str, Json] = {
        "num_infeasible": found.num_infeasible,
        "num_trials": found.num_trials,
        "by_kind": dict(found.by_kind),
        "best_rate": found.best_rate,
        "unstable_rate": found.unstable_rate,
        "is_next_to_best": found.is_next_to_best,
        "is_frequent": found.is_frequent,
        "max_train_steps": found.budget,
        "base_rate": base_rate,
        "warmups": [asdict(warmup) for warmup in warmups],
        "max_grad_norm": clip,
        "grad_norms": None if found.norms is None else asdict(found.norms),
        "settings": settings,
    }
    return Decision(kind=INSTABILITY, phase=phase.name, reason=f"{reason}{CITED}", numbers=json_safe(numbers))


def _where(found: _Seen) -> str:
    if found.best_rate is None:
        return f", from learning_rate {number(found.unstable_rate)} on"
    if found.is_next_to_best:
        return (
            f"; {number(found.unstable_rate)} is unstable right above the best learning_rate, {number(found.best_rate)}"
        )
    if found.unstable_rate <= found.best_rate:
        return f", a quarter or more, from learning_rate {number(found.unstable_rate)} on"
    return f", a quarter or more; the lowest unstable learning_rate above the best is {number(found.unstable_rate)}"


def _warmups(config: StudyConfig, found: _Seen, warmups: tuple[Warmup, ...], *, base_rate: float) -> str:
    """The warmups to try, with what each makes of the budget."""
    if not warmups:
        more = budget_for(found.warmup_steps + 1)
        return (
            f"a warmup longer than the present {steps(found.warmup_steps)}, which is more than 10 % of the budget of "
            f"{steps(found.budget)}: raise the budget first, to {more:,} or more"
        )
    tries = ", then ".join(
        f"training.warmup_steps={warmup.warmup_steps} ({found.budget:,} + {warmup.warmup_steps:,} = "
        f"{steps(warmup.max_train_steps)}{', raise the budget: more than 5 %' if warmup.asks_for_more else ''})"
        for warmup in warmups
    )
    return (
        f"a longer warmup, prepended, the shortest that works at a base rate of {number(base_rate)} (10 x the unstable "
        f"one), constant for twice the warmup after it: {tries}, with rates up to there in {_rates(config)}"
    )


def _clipping(config: StudyConfig, found: _Seen) -> tuple[float | None, str, str | None]:
    """The threshold to clip at, if any; how it is told; and the lower rate to set instead, if that is better."""
    norms, now = found.norms, config.training.max_grad_norm
    if norms is None:
        return (
            None,
            "clipping (training.max_grad_norm), for which no norm of a feasible trial near the best is known",
            None,
        )
    known = f"the 90th percentile of the unclipped gradient norms near the best rate is {number(norms.p90)}"
    share = norms.clipped_share
    if share is not None and share > MOST_CLIPPED:
        told = f"{number(100 * share)} % of the updates near the best rate are clipped, more than half"
        if found.highest_stable is None:
            return None, f"lower rates instead of clipping: {told}", None
        if _rates(config) == LISTED_RATES:
            return None, f"lower rates in {LISTED_RATES} instead of clipping: {told}", None
        lower = f"{_rates(config)}={number(found.highest_stable)}"
        return None, f"a lower rate instead of clipping, {lower}: {told}", lower
    if now is not None and now <= norms.p90:
        clipped = "" if share is None else f", {number(100 * share)} % of the updates"
        return None, f"nothing more by clipping: training.max_grad_norm={number(now)} clips{clipped}; {known}", None
    clip = float(f"{norms.p90:.3g}")
    return clip, f"clipping at training.max_grad_norm={number(clip)}: {known}", None


def _rates(config: StudyConfig) -> str:
    """The setting that says how high rates may be."""
    if config.search_space == "auto":
        return "budget_sweep.learning_rates.high"
    if any(setting_of(label) == "learning_rate" != label for label in config.given_space):
        return LISTED_RATES
    searched = config.given_space.get("learning_rate")
    if searched is None:
        return "training.learning_rate"
    return "search_space.learning_rate.high" if searched.choices is None else "search_space.learning_rate.choices"
