"""Extensions of searches that learn, and of studies that ask about a setting: the real search on made-up curves."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1] / "protocol"))

from synthetic import FACTS, Lab, bowl, config_of

from tuner.records import AddTrials, Move, OpenPhase, TrialRecord
from tuner.trials.adaptive import Past, adaptive_points
from tuner.trials.planner import Planner

TPE = {"sampler": "tpe", "parallelism": 4, "num_trials": 20}
RATE = {"learning_rate": {"low": 1e-4, "high": 1e-2, "scale": "log"}}
ASKED = {**RATE, "optimizer": {"choices": ["adamw", "sgd"], "role": "scientific"}}
WIDTHS = {**RATE, "dropout": {"choices": [0.0, 0.1, 0.2]}}


class Searching(Lab):
    """A laboratory whose points come from the search itself, as the planner asks for them."""

    def _apply(self, move: Move) -> None:
        if isinstance(move, OpenPhase | AddTrials) and move.num_points:
            planner = object.__new__(Planner)
            planner._config, planner._facts = self.config, FACTS
            move = planner._with_points(move, self.study)
        super()._apply(move)

    def points(self) -> list[dict[str, Any]]:
        rounds = [phase for phase in self.phases if phase.plan.kind == "round_1"]
        return [dict(trial.params) for phase in rounds for trial in phase.trials]

    def generations(self) -> list[str]:
        """Who proposed each generation but the first of a phase, as its decision tells."""
        told = [decision.reason for decision in self.decisions if decision.kind == "generation"]
        return [reason.partition("proposed by ")[2].split()[0] for reason in told]


def small(**sections: Any) -> Any:
    """Without a later round, and evaluated seldom: what is looked at are points."""
    return config_of(evaluation={"every_steps": 300}, round_2=None, **sections)


def study(**sections: Any) -> Searching:
    lab = Searching(small(**sections), bowl())
    lab.play(max_moves=90)
    return lab


def test_a_search_that_learns_goes_on_as_if_it_had_been_asked_for_more_at_once() -> None:
    lab = study(round_1=TPE)
    lab.extend(small(round_1={**TPE, "num_trials": 28}), max_moves=90)
    at_once = study(round_1={**TPE, "num_trials": 28})
    assert [phase.name for phase in lab.phases] == ["budget_sweep", "round_1", "round_1.added"]
    assert len(lab.points()) == 28
    assert lab.points() == at_once.points()
    assert lab.generations() == at_once.generations()[:4] + at_once.generations()[5:]


def test_a_search_that_was_interrupted_asks_for_what_was_added_when_its_generation_has_ended() -> None:
    lab = Searching(small(round_1=TPE), bowl())
    lab.play(until="round_1")
    lab.extend(small(round_1={**TPE, "num_trials": 24}), max_moves=90)
    assert [phase.name for phase in lab.phases] == ["budget_sweep", "round_1"]
    assert lab.points() == study(round_1={**TPE, "num_trials": 24}).points()


def test_a_search_has_its_number_of_points_beside_the_users_and_who_proposed_them_is_told() -> None:
    lab = study(round_1={**TPE, "num_trials": 4})
    ideas = [{"learning_rate": rate} for rate in (3e-2, 1.5e-3, 2e-3, 2.5e-3)]
    lab.extend(small(round_1=TPE), *ideas, max_moves=90)
    assert len(lab.points()) == 20 + 4
    assert lab.points()[4:8] == ideas
    # 20 points begin with 12 trials that no sampler proposed: here 8 of Halton and the user's 4.
    halton = study(round_1={**TPE, "num_trials": 12, "sampler": "halton"}).points()
    assert [point for point in lab.points() if point in halton] == halton[:8]
    assert set(lab.generations()) == {"tpe"}


def test_a_search_that_learns_passes_over_a_choice_that_it_does_not_have() -> None:
    few = {**TPE, "num_trials": 8}
    lab = study(round_1=few, search_space=WIDTHS)
    idea = {"learning_rate": 1e-3, "dropout": 0.5}
    lab.extend(small(round_1={**few, "num_trials": 16}, search_space=WIDTHS), idea, max_moves=90)
    assert idea in lab.points()
    assert len(lab.points()) == 17
    assert {point["dropout"] for point in lab.points()} <= {0.0, 0.1, 0.2, 0.5}


def test_a_search_that_learns_asks_for_no_generation_that_the_hours_do_not_hold() -> None:
    few = {**TPE, "num_trials": 8}
    lab = Searching(small(round_1=few, limits={"study_hours": 100}), bowl(), seconds_per_step=lambda done: 1.0)
    lab.play(max_moves=90)
    # One generation of four at 600 steps takes two thirds of an hour.
    hours = lab.measured.elapsed_seconds / 3600 + 0.8
    lab.extend(small(round_1={**few, "num_trials": 16}, limits={"study_hours": hours}), max_moves=90)
    assert len(lab.points()) == 8 + 4
    assert all(phase.is_closed for phase in lab.phases)
    (told,) = (decision for decision in lab.decisions if decision.kind == "cut")
    assert "nothing more joins round_1; uncut 0.6667 hours" in told.reason


def test_a_point_outside_of_the_range_is_not_told_as_one_on_its_edge() -> None:
    lab = study(round_1={**TPE, "num_trials": 8})
    trials, space = lab.trials("round_1"), lab.config.given_space
    strange = replace(trials[0], number=8, params={"learning_rate": 0.5}, best_value=-9.0)
    assert strange.is_ended

    def proposed(past: tuple[TrialRecord, ...]) -> object:
        return adaptive_points("tpe", space, [9], seed=(7, "round_1"), past=Past(past, "minimize"))

    assert proposed((*trials, strange)) == proposed(trials)


def test_more_trials_are_shared_evenly_among_the_scientific_values() -> None:
    for sampler in ("halton", "tpe"):
        few = {"sampler": sampler, "parallelism": 2, "num_trials": 4, "widen_at_edge": False}
        lab = study(round_1=few, search_space=ASKED)
        lab.extend(small(round_1={**few, "num_trials": 10}, search_space=ASKED), max_moves=90)
        values = [point["optimizer"] for point in lab.points()]
        assert values == ["adamw", "sgd"] * 5
        if sampler == "halton":
            assert lab.points() == study(round_1={**few, "num_trials": 10}, search_space=ASKED).points()
