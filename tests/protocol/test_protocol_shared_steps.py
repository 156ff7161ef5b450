"""The price of a phase is what it adds: the closed form against every update of the study by its whole past."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from synthetic import Lab, config_of, pasts_of, trained

from tuner.protocol.measured import Measured
from tuner.protocol.shared_steps import new_steps, price_of
from tuner.records import OpenPhase, PhaseRecord, StudyRecord, TrialPlan

LONGER = {"num_trials": 8, "adjust": "probe", "max_adjustments": 2, "decay_shares": [0.1, 0.2, 0.4]}
TWO = {"num_trials": 2, "num_seeds": 2, "budget_multiple": 2, "lower_rate_twin": True}
FRONTIER = {"num_budgets": 4, "half_rate": True}


def improving(step: int) -> float:
    return 1.0 + 600 / (600 + step)


def opened(lab: Lab) -> list[tuple[StudyRecord, OpenPhase]]:
    """Every phase that opens with its trials, and the study before it."""
    found: list[tuple[StudyRecord, OpenPhase]] = []
    phases: list[PhaseRecord] = []
    for phase in lab.phases:
        before = replace(lab.study, phases=tuple(phases), answer=None)
        plans = tuple(TrialPlan(number=t.number, params=t.params, spec=t.spec) for t in phase.trials)
        if phases:
            found.append((before, OpenPhase(plan=phase.plan, trials=plans)))
        phases.append(phase)
    return found


@pytest.mark.parametrize("sections", [{}, {"training": {"schedule": "cosine"}, "round_1": {**LONGER, "adjust": "raw"}}])
def test_a_phase_costs_what_no_run_before_it_has_trained(sections: dict[str, Any]) -> None:
    sections = {"round_1": LONGER, "round_2": TWO, "frontier": FRONTIER if not sections else None} | sections
    lab = Lab(config_of(**sections), trained(improving)).play(max_moves=120)
    done = {past for trial in lab.trials("budget_sweep") for past in pasts_of(trial.spec)[: trial.last_step]}
    for before, move in opened(lab):
        pasts = {past for plan in move.trials for past in pasts_of(plan.spec)}
        added, price = len(pasts - done), price_of(before, move)
        # Never too little. Two decays may share an update or two that no state is kept within.
        assert added <= price.steps <= added * 1.02 + 8, move.plan.name
        assert price.longest <= max(plan.spec.max_train_steps for plan in move.trials)
        done |= pasts
    names = [phase.name for phase in lab.phases]
    assert "round_1.2" in names
    assert ("round_1.probe" in names) == ("training" not in sections)


def test_a_run_shares_no_more_than_another_one_reached() -> None:
    lab = Lab(config_of(round_1=LONGER), trained(improving)).play(until="round_1")
    first = lab.trials("round_1")[0]
    longer = TrialPlan(
        number=0, params=first.params, spec=replace(first.spec, max_train_steps=1200, fork_steps=(1080,))
    )
    assert new_steps(lab.study, [longer]) == [1200 - 481]
    # Two of them are one; another seed is another trunk.
    other = replace(longer, spec=replace(longer.spec, seed=8))
    assert new_steps(lab.study, [longer, longer, other]) == [1200 - 481, 0, 1200]
    phases = tuple(
        replace(phase, trials=tuple(replace(trial, last_step=100, state="ended") for trial in phase.trials))
        for phase in lab.phases[:2]
    )
    assert new_steps(replace(lab.study, phases=phases), [longer]) == [1200 - 100]


def test_without_sharing_a_phase_costs_all_of_its_steps() -> None:
    lab = Lab(config_of(round_1=LONGER), trained(improving)).play(until="round_1.probe")
    before, move = opened(lab)[-1]
    assert move.plan.name == "round_1.probe"
    assert price_of(before, move, Measured(shares=False)).steps == 5 * 1200
    assert price_of(before, move, Measured()).steps == 5 * 719


def test_hours_hold_a_doubling_that_costs_little_beside_its_probe() -> None:
    """Priced in full, round_1.3 and the decays would have been left out here for want of hours."""
    round_2 = {"num_trials": 1, "num_seeds": 1, "budget_multiple": 1, "lower_rate_twin": False}
    config = config_of(round_1=LONGER, round_2=round_2, limits={"study_hours": 10})
    lab = Lab(config, trained(improving), seconds_per_step=lambda done: 1.0).play(max_moves=120)
    assert [phase.name for phase in lab.phases if phase.plan.kind == "round_1"][-1] == "round_1.3"
    assert "round_1.decay" in [phase.name for phase in lab.phases]
    assert lab.measured.elapsed_seconds <= 10 * 3600
