"""What to hold against an answer in a line each: edges of the search, instability, the later round's own verdict."""

from __future__ import annotations

import shlex

from tuner.analysis.best_steps import sign_of
from tuner.analysis.transfer import point_key
from tuner.config.schema import MOST_ADJUSTMENTS, StudyConfig
from tuner.protocol.instability import INSTABILITY
from tuner.protocol.instability_probe import INSTABILITY_PROBE
from tuner.protocol.joined import joined
from tuner.protocol.kinds import is_compute_bound
from tuner.protocol.next_length import carried_steps
from tuner.protocol.probe import probe_name
from tuner.protocol.replicas import known_seed_deviation, ranked_points, value_of
from tuner.protocol.rounds import feasible
from tuner.protocol.space import space_of
from tuner.records import PhaseRecord, StudyRecord, TrialRecord
from tuner.report.isolations import derived_under
from tuner.report.search_edges import edges_of
from tuner.report.so_far import answer_so_far, later_round
from tuner.report.wording import number, params_text, value_text


def answer_caveats(config: StudyConfig, study: StudyRecord) -> list[str]:
    """The caveats of the answer, or of the best so far; none while there is neither."""
    found = answer_so_far(study)
    if found is None:
        return []
    edges = edges_of(space_of(config, study.decisions), found.params)
    told = [
        f"{name}={value_text(found.params[name])} is at the {edge} edge of its search range: a wider range may hold a "
        "better point"
        for name, edge in edges.items()
    ]
    told += still_too_short(config, study)
    told += better_probe(config, study)
    told += _instability(study)
    if under := derived_under(study):
        told.append(f"the budget was derived under {under}: another value may need another one")
    later = later_round(study)
    if later is not None:
        told.append(
            f"the verdict {found.verdict!r} is on the budget of round 1; the answer comes from {later.name}, whose own "
            f"budget is {later.verdict or 'not judged yet'}"
        )
    return told


def still_too_short(config: StudyConfig, study: StudyRecord) -> list[str]:
    """That no more doublings of round 1 were allowed although the last budget was too short, and what allows one."""
    if study.answer is None or is_compute_bound(study):
        return []
    rounds = [phase for phase in joined(study).phases if phase.plan.kind == "round_1"]
    allowed = config.round_1.max_adjustments
    if not rounds or rounds[-1].verdict != "too short" or len(rounds) <= allowed or allowed >= MOST_ADJUSTMENTS:
        return []
    last, name = rounds[-1], shlex.quote(study.name)
    doublings = "1 doubling was" if allowed == 1 else f"{allowed} doublings were"
    return [
        f"{last.name} was still too short at {last.plan.max_train_steps:,} updates, and {doublings} allowed: longer "
        f"training is likely to gain; `tuner extend {name} round_1.max_adjustments={allowed + 1}` goes on from there"
    ]


def better_probe(config: StudyConfig, study: StudyRecord) -> list[str]:
    """That a trial of a probe is better than the answer, by more than a seed deviation: its point gains by longer runs.

    Probes measure, and are no candidates; the remedy makes one of it.
    """
    found, view = study.answer, joined(study)
    if found is None:
        return []
    probes = [phase for phase in view.phases if phase.plan.kind == "probe" and feasible(phase)]
    if not probes:
        return []
    sign = sign_of(probes[-1].plan.eval.direction)
    probe, best = min(
        ((phase, trial) for phase in probes for trial in feasible(phase)), key=lambda each: sign * value_of(each[1])
    )
    ahead, deviation = sign * (found.best_value - value_of(best)), known_seed_deviation(view)
    judged = next((phase for phase in view.phases if probe_name(phase.name) == probe.name), None)
    if ahead <= (deviation or 0.0) or judged is None:
        return []
    of = f", {ahead / deviation:.1f} seed deviations ahead" if deviation else ""
    told = (
        f"{probe.name}, which only measures, reached {found.metric} {number(value_of(best))} with "
        f"{params_text(best.params)} at {probe.plan.max_train_steps:,} updates{of}: "
        "longer training gains for other points"
    )
    return [told + _remedy(config, study, probe=probe, judged=judged, best=best)]


def _remedy(
    config: StudyConfig, study: StudyRecord, *, probe: PhaseRecord, judged: PhaseRecord, best: TrialRecord
) -> str:
    """Which `tuner extend` takes a probed point to the probe's length as a candidate; empty without a round 2."""
    if config.round_2 is None:
        return ""
    order = [point_key(trials[0].params) for trials in ranked_points(judged)]
    count = max(config.round_2.num_trials, order.index(point_key(best.params)) + 1)
    multiple = probe.plan.max_train_steps / carried_steps(study, judged)
    return (
        f"; `tuner extend {shlex.quote(study.name)} round_2.budget_multiple={multiple:g} round_2.num_trials={count}` "
        "makes it a candidate"
    )


def _instability(study: StudyRecord) -> list[str]:
    """That higher rates were unstable, with what to try: the last proposal, and what an early probe found."""
    proposed = [decision for decision in study.decisions if decision.kind == INSTABILITY]
    told = []
    if proposed:
        numbers = proposed[-1].numbers
        where = "next to the best rate" if numbers.get("is_next_to_best") else "in many trials"
        tries = " or ".join(numbers.get("settings") or []) or "a larger budget with a longer warmup"
        told.append(
            f"training was unstable {where} ({numbers['num_infeasible']} of {numbers['num_trials']} trials of "
            f"{proposed[-1].phase} infeasible): stabilised, a higher rate may do better; try {tries}, as a study of "
            "another name"
        )
    probes = [decision for decision in study.decisions if decision.kind == INSTABILITY_PROBE]
    if probes and probes[-1].numbers.get("verdict") == "unstable":
        told.append(f"early training at twice the best rate was unstable ({probes[-1].numbers['kind']})")
    return told
