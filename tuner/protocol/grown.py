"""What `tuner extend` adds to phases that stand: points to round 1, points and seeds to later rounds, longer rounds.

A round is grown by what it would have today and has not: what was trained is never trained again, and what was decided
(budgets, decay, points that went on) stays. At the budget that stands it gets a phase whose trials join it
(`protocol/joined.py`); at a larger one a phase of its own, `round_2.2`, which goes on from its plateaus.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from math import ceil

from tuner.analysis.transfer import point_key
from tuner.config.schema import StudyConfig
from tuner.protocol.answer import twins
from tuner.protocol.compute_bound import production_steps
from tuner.protocol.frontier_budgets import with_reserved
from tuner.protocol.generations import given_points, is_adaptive, next_generation, num_drawn
from tuner.protocol.joined import ADDED, is_broken_off, is_extended_since, is_taken_up, next_part, open_part
from tuner.protocol.later_rounds import open_later_round, twin_of
from tuner.protocol.lengths import has_twin
from tuner.protocol.next_length import Length, carried_steps, length_of, round_name
from tuner.protocol.probe import probe_name
from tuner.protocol.replicas import ranked_points
from tuner.protocol.rounds import ROUND_1, feasible
from tuner.protocol.runs import doubled, lengthened, round_trials, trial_seed
from tuner.protocol.scientific import asked, best_of_each_first
from tuner.protocol.words import json_safe, point, steps
from tuner.records import (
    AddTrials,
    Decision,
    Json,
    OpenPhase,
    Params,
    PhaseRecord,
    RunSpec,
    StudyRecord,
    TrialPlan,
    TrialRecord,
    WorkloadFacts,
)


def grow_round_1(
    config: StudyConfig, facts: WorkloadFacts, study: StudyRecord, *, rounds: list[PhaseRecord]
) -> OpenPhase | AddTrials | None:
    """The points that an extension adds to the latest round-1 phase, at its budget; None if it has them all.

    They join an open phase while it is not judged; a closed one gets a phase that joins it.
    """
    phase = rounds[-1]
    if not phase.is_closed and _is_busy(config, study, phase):
        return None
    given = given_points(study.decisions)
    # Asked at every move of a study: most were given no points, and then none need be named.
    there = {point_key(trial.params) for trial in phase.trials} if given else set[str]()
    given = [each for each in given if point_key(each) not in there]
    again, num_points = list[TrialRecord](), 0
    if is_extended_since(study, phase):
        again = [trial for trial in phase.trials if is_broken_off(trial)]
        num_points = max(0, config.round_1.num_trials - num_drawn(study.decisions, phase))
    if is_adaptive(config):
        num_points = min(num_points, config.round_1.parallelism) if phase.is_closed else 0
    if not given and not again and not num_points:
        return None
    # Numbers count within the phase that is stored, not within all that joined it.
    first = 0 if phase.is_closed else sum(trial.phase == open_part(phase) for trial in phase.trials)
    trials = _as_before(again, first=first)
    trials += joining_trials(config, facts, rounds, given, first=first + len(trials))
    name = next_part(phase) if phase.is_closed else phase.name
    decision = _added(phase, given, num_again=len(again), num_points=num_points, name=name)
    if not phase.is_closed:
        return AddTrials(phase=name, trials=trials, num_points=num_points, decisions=(decision,))
    plan = replace(phase.plan, name=name)
    return OpenPhase(plan=plan, trials=trials, num_points=num_points, decisions=(decision,))


def joining_trials(
    config: StudyConfig, facts: WorkloadFacts, rounds: list[PhaseRecord], points: Sequence[Params], *, first: int
) -> tuple[TrialPlan, ...]:
    """The trials that points would have had in the last of the round-1 phases, had they been there from the first.

    They keep their full states where a planned frontier would leave them, the search's points and the user's alike.
    """
    plans = round_trials(config, facts, rounds[0].plan, points, first=first)
    for phase in rounds[1:]:
        budget = phase.plan.max_train_steps
        plans = tuple(replace(each, spec=doubled(config, each.spec, max_train_steps=budget)) for each in plans)
    rest = config.later_rounds
    return tuple(replace(each, spec=with_reserved(config, each.spec, rest=rest)) for each in plans)


def grow_later_round(
    config: StudyConfig, study: StudyRecord, *, place: int, base: PhaseRecord, stands: list[PhaseRecord]
) -> OpenPhase | None:
    """What an extension makes of a later round that stands: a longer one, or the points and seeds that it lacks."""
    last = stands[-1]
    if not is_extended_since(study, last) or not feasible(base):
        return None
    length = _length(config, study, place=place, base=base, last=last)
    if length.steps > last.plan.max_train_steps:
        name = f"{round_name(place)}.{len(stands) + 1}"
        longer = open_later_round(config, study, place=place, base=base, again=(name, length))
        return longer if isinstance(longer, OpenPhase) else None
    return _joining(config, study, place=place, base=base, last=last)


def _is_busy(config: StudyConfig, study: StudyRecord, phase: PhaseRecord) -> bool:
    """Whether an open round-1 phase is still to get its own trials, or was judged already as far as they tell."""
    is_probed = any(other.name == probe_name(phase.name) for other in study.phases)
    is_done = all(trial.is_ended for trial in phase.trials) and next_generation(config, study.decisions, phase) is None
    return is_probed or not is_done


def _as_before(trials: list[TrialRecord], *, first: int) -> tuple[TrialPlan, ...]:
    """The same runs again: each goes on from where the one that was broken off left it."""
    return tuple(
        TrialPlan(number=number, params=dict(trial.params), spec=trial.spec)
        for number, trial in enumerate(trials, first)
    )


def _added(phase: PhaseRecord, given: list[Params], *, num_again: int, num_points: int, name: str) -> Decision:
    told = []
    if given:
        told.append(f"{_count(len(given), 'point')} given by the user ({'; '.join(map(point, given))})")
    if num_points:
        told.append(f"{_count(num_points, 'more point')} of the search")
    if num_again:
        told.append(f"{_count(num_again, 'trial')} that had been broken off, which go on")
    reason = (
        f"Extended: {phase.name} gets {' and '.join(told)}, at its {steps(phase.plan.max_train_steps)}; they are "
        f"judged together with the {len(phase.trials)} that it has. New ideas may enter at any length (playbook, Round "
        "1)."
    )
    numbers = {
        "added_to": phase.name,
        "max_train_steps": phase.plan.max_train_steps,
        "num_points": num_points,
        "num_again": num_again,
        "points": [dict(each) for each in given],
    }
    return Decision(kind=ADDED, phase=name, reason=reason, numbers=json_safe(numbers))


def _count(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"


def _length(config: StudyConfig, study: StudyRecord, *, place: int, base: PhaseRecord, last: PhaseRecord) -> Length:
    """How long a round would be today. What it gained is not measured anew: `auto` keeps the multiple it decided on."""
    stands = last.plan.max_train_steps
    is_auto, production = config.later_rounds[place].budget_multiple == "auto", production_steps(study)
    is_last = place == len(config.later_rounds) - 1
    if not is_auto or (base.plan.kind == ROUND_1 and production is None) or (production is not None and is_last):
        return length_of(config, study, place=place, base=base)
    carried = carried_steps(study, base)
    if production is not None:
        return Length(steps=stands, carried=carried, why="")
    opened = next(d for d in study.decisions if d.kind == "round_opened" and d.phase == last.name)
    multiple = opened.numbers["max_train_steps"] / opened.numbers["carried_steps"]
    return Length(steps=ceil(multiple * carried), carried=carried, why="")


def _joining(
    config: StudyConfig, study: StudyRecord, *, place: int, base: PhaseRecord, last: PhaseRecord
) -> OpenPhase | None:
    """A phase for the points and seeds that a round lacks: of those that stand, and of those that would go on today."""
    item, budget = config.later_rounds[place], last.plan.max_train_steps
    best = best_of_each_first([group[0] for group in ranked_points(base)], asked(config))[: item.num_trials]
    runs = _runs_of_points(config, study, base=base, last=last, best=best)
    rest = config.later_rounds[place + 1 :]
    runs = {key: (params, with_reserved(config, spec, rest=rest)) for key, (params, spec) in runs.items()}
    there = {_run(trial) for trial in last.trials if not is_broken_off(trial) and not is_taken_up(trial)}
    wanted = [
        TrialPlan(number=0, params=params, spec=replace(spec, seed=trial_seed(config.seed, index)))
        for index in range(item.num_seeds)
        for params, spec in runs.values()
    ]
    missing = [plan for plan in wanted if (point_key(plan.params), plan.spec.seed) not in there]
    missing += _broken_off(last, missing)
    own = [*wanted, *(TrialPlan(number=0, params=t.params, spec=t.spec) for t in last.trials)]
    leader = [TrialPlan(number=0, params=dict(best[0].params), spec=runs[point_key(best[0].params)][1])]
    is_wanted = budget > base.plan.max_train_steps and has_twin(config, item)
    twin = twin_of(best[0], [*leader, *own]) if is_wanted else None
    missing += [twin] if twin is not None else []
    if not missing:
        return None
    trials = tuple(replace(plan, number=number) for number, plan in enumerate(missing))
    name = next_part(last)
    decision = _joined(last, base, trials, has_twin=twin is not None, name=name)
    return OpenPhase(plan=replace(last.plan, name=name), trials=trials, decisions=(decision,))


def _runs_of_points(
    config: StudyConfig, study: StudyRecord, *, base: PhaseRecord, last: PhaseRecord, best: list[TrialRecord]
) -> dict[str, tuple[dict[str, Json], RunSpec]]:
    """The run of each point that a round is to hold: first those that would go on today, the best first."""
    lower = {trial.trial for trial in twins(study)}
    own = {point_key(t.params): (dict(t.params), t.spec) for t in reversed(last.trials) if t.trial not in lower}
    decay, found = last.trials[0].spec.schedule.decay_steps, {}
    for trial in best:
        spec = replace(trial.spec, schedule=replace(trial.spec.schedule, decay_steps=decay))
        longer = lengthened(config, spec, max_train_steps=last.plan.max_train_steps)
        key = point_key(trial.params)
        found[key] = own.get(key, (dict(trial.params), longer))
    for trial in last.trials:
        key = point_key(trial.params)
        if key in own:
            found.setdefault(key, own[key])
    return found


def _broken_off(last: PhaseRecord, missing: list[TrialPlan]) -> list[TrialPlan]:
    """What was broken off beside the points' own seeds: a twin, a seed that is not asked for any more."""
    known = {(point_key(plan.params), plan.spec.seed) for plan in missing}
    return [
        TrialPlan(number=0, params=dict(trial.params), spec=trial.spec)
        for trial in last.trials
        if is_broken_off(trial) and _run(trial) not in known
    ]


def _run(trial: TrialRecord) -> tuple[str, int]:
    return point_key(trial.params), trial.spec.seed


def _joined(
    last: PhaseRecord, base: PhaseRecord, trials: tuple[TrialPlan, ...], *, has_twin: bool, name: str
) -> Decision:
    there, seeds = {point_key(t.params) for t in last.trials}, {t.spec.seed for t in last.trials}
    new_points = list({point_key(t.params): t.params for t in trials if point_key(t.params) not in there}.values())
    num_seeds = len({t.spec.seed for t in trials} - seeds)
    told = [f"{_count(len(trials), 'trial')} join"]
    if new_points:
        told.append(f"; points that now go on from {base.name}: {'; '.join(map(point, new_points))}")
    if num_seeds:
        told.append(f"; {_count(num_seeds, 'further seed')}")
    if has_twin:
        told.append("; the last of them is a twin of the best point at half its rate")
    reason = (
        f"Extended: {told[0]} {last.name} at its {steps(last.plan.max_train_steps)}{''.join(told[1:])}. They are "
        f"ranked together with the {len(last.trials)} that it has (playbook, Round 2)."
    )
    numbers = {
        "added_to": last.name,
        "max_train_steps": last.plan.max_train_steps,
        "num_trials": len(trials),
        "points": [dict(each) for each in new_points],
        "num_new_seeds": num_seeds,
        "twin": len(trials) - 1 if has_twin else None,
    }
    return Decision(kind=ADDED, phase=name, reason=reason, numbers=json_safe(numbers))
