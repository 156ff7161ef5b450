"""Studies that ask something: equally many trials for each scientific value; the best of each goes on.

Planted: sgd is better at its own best rate, though worse wherever both train at one rate.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import pytest
from synthetic import Lab, Losses, bowl, config_of

from tuner.analysis.transfer import point_key
from tuner.config.resolve import eval_spec
from tuner.config.schema import StudyConfig
from tuner.protocol.plan import closed_form_plan
from tuner.protocol.scientific import best_of_each_first, describe_space
from tuner.protocol.space import space_of
from tuner.records import AddTrials, Conclude, Decision, PhasePlan, PhaseRecord, RunSpec, TrialRecord
from tuner.report.isolations import claims, conditions, deciding, isolations
from tuner.trials.proposals import propose

QUESTION: dict[str, Any] = {
    "optimizer": {"choices": ["adamw", "sgd"], "role": "scientific"},
    "learning_rate": [
        {"low": 1e-4, "high": 1e-2, "scale": "log", "when": {"optimizer": "adamw"}},
        {"low": 1e-2, "high": 1.0, "scale": "log", "when": {"optimizer": "sgd"}},
    ],
    "beta1": {"low": 0.8, "high": 0.99, "scale": "one_minus_log", "when": {"optimizer": "adamw"}},
}
ONE_RATE = {
    "optimizer": {"choices": ["adamw", "sgd"], "role": "scientific"},
    "learning_rate": {"low": 1e-4, "high": 1e-2, "scale": "log"},
}
BEST_RATES = {"adamw": 1e-3, "sgd": 0.3}
FLOORS = {"adamw": 1.2, "sgd": 1.0}


def measured(spec: RunSpec, step: int) -> Losses | str:
    """The usual sweep; in the rounds each optimizer has a best rate of its own, and seeds differ a little."""
    if not spec.schedule.decay_steps:
        return bowl()(spec, step)
    name = spec.optimizer.name
    decades = abs(math.log10(spec.learning_rate / BEST_RATES[name]))
    seed = 0.01 * (spec.seed % 3)
    return 1.0, FLOORS[name] + 0.5 * decades + 1 / (10 + step) + seed


class Roles(Lab):
    """The laboratory with the points that the study would propose."""

    def _points(self, count: int, decisions: Sequence[Decision]) -> list[dict[str, Any]]:
        plan = PhasePlan(name="round_1", kind="round_1", max_train_steps=1, eval=eval_spec(self.config))
        space = space_of(self.config, decisions)
        return [dict(point) for point in propose(self.config, space, PhaseRecord(plan=plan), num_points=count)]


def study_of(space: dict[str, Any] | None = None, **sections: Any) -> StudyConfig:
    data = config_of(**sections).model_dump(mode="json", by_alias=True)
    return StudyConfig.model_validate({**data, "search_space": space or QUESTION})


def played(space: dict[str, Any] | None = None, *, world: Any = measured, seed: int = 0, **sections: Any) -> Roles:
    lab = Roles(study_of(space, **sections), world, seed=seed)
    lab.play()
    return lab


def optimizers(trials: Sequence[TrialRecord]) -> list[Any]:
    return [trial.params["optimizer"] for trial in trials]


@pytest.fixture(scope="module")
def lab() -> Roles:
    return played(round_1={"num_trials": 9})


def test_scientific_values_get_trials_whose_numbers_differ_by_at_most_one(lab: Roles) -> None:
    found = optimizers(lab.trials("round_1"))
    assert (found.count("adamw"), found.count("sgd")) == (5, 4)


def test_a_trial_holds_only_the_hyperparameters_that_exist_in_it(lab: Roles) -> None:
    for trial in lab.trials("round_1"):
        adamw = trial.params["optimizer"] == "adamw"
        assert trial.params.keys() == {"optimizer", "learning_rate"} | ({"beta1"} if adamw else set())
        assert trial.spec.optimizer.name == trial.params["optimizer"]
        assert (1e-4 <= trial.spec.learning_rate <= 1e-2) if adamw else (1e-2 <= trial.spec.learning_rate <= 1)


def test_the_optimizer_that_is_better_at_its_own_best_rate_wins(lab: Roles) -> None:
    assert isinstance(lab.end, Conclude)
    assert lab.end.answer.params["optimizer"] == "sgd"
    (claim,) = claims(lab.config, lab.study)
    assert claim.startswith("optimizer=sgd is best: loss ")
    assert "ahead of optimizer=adamw in round_2" in claim


def test_at_one_rate_for_both_the_other_optimizer_would_have_won() -> None:
    lab = played(ONE_RATE, round_1={"num_trials": 9})
    assert isinstance(lab.end, Conclude)
    assert lab.end.answer.params["optimizer"] == "adamw"


def test_the_best_point_of_each_value_goes_on_before_any_second_one(lab: Roles) -> None:
    carried = [trial for trial in lab.trials("round_2") if trial.spec.seed == lab.config.seed]
    assert optimizers(carried) == ["sgd", "adamw"]
    ranked = sorted(lab.trials("round_1"), key=lambda trial: trial.best_value or 0.0)
    assert optimizers(ranked[:2]) == ["sgd", "sgd"], "by value alone adamw would have stayed behind"
    best = {name: next(t for t in ranked if t.params["optimizer"] == name) for name in ("sgd", "adamw")}
    assert [point_key(trial.params) for trial in carried] == [point_key(best[n].params) for n in ("sgd", "adamw")]


def test_places_left_in_round_2_go_to_the_best_of_the_rest(lab: Roles) -> None:
    ranked = sorted(lab.trials("round_1"), key=lambda trial: trial.best_value or 0.0)
    order = best_of_each_first(ranked, ("optimizer",))
    assert sorted(order, key=lambda t: t.trial) == sorted(ranked, key=lambda t: t.trial)
    rest = [trial for trial in ranked if trial not in order[:2]]
    assert order[2:] == rest
    assert best_of_each_first(ranked, ()) == ranked


def test_the_budget_names_the_scientific_value_that_it_was_derived_under(lab: Roles) -> None:
    opened = lab.decision("sweep_opened")
    assert "the budget is derived under optimizer=adamw" in opened.reason
    assert opened.numbers["scientific"] == {"optimizer": "adamw"}
    (rounds,) = isolations(lab.config, lab.study).values()
    told = conditions(lab.config, lab.study, found=deciding(rounds))
    assert "the budget was derived under optimizer=adamw, which may suit another value less" in told
    assert told[-1].startswith("fixed for all: beta2=0.999, epsilon=1e-08, momentum=0.9, weight_decay=0.01")


def test_no_rate_range_is_widened_beside_a_question_and_the_study_says_so() -> None:
    low = {**QUESTION, "learning_rate": [QUESTION["learning_rate"][0], {**QUESTION["learning_rate"][1], "high": 0.1}]}
    lab = played(low, round_1={"num_trials": 10})
    assert not [move for move in lab.moves if isinstance(move, AddTrials)]
    assert (
        "no rate range is widened, since extra points would favour one scientific value"
        in lab.decision("round_opened", "round_1").reason
    )
    (round_1,) = (phase for phase in closed_form_plan(lab.config) if phase.name == "round_1")
    assert round_1.max_trials == 10


def test_rates_that_depend_on_another_setting_are_not_widened_either() -> None:
    lab = played({**QUESTION, "optimizer": {"choices": ["adamw", "sgd"]}}, round_1={"num_trials": 8})
    assert not [move for move in lab.moves if isinstance(move, AddTrials)]
    assert "since the rates depend on another setting" in lab.decision("round_opened", "round_1").reason
    assert claims(lab.config, lab.study) == []


def test_who_finished_first_changes_nothing() -> None:
    ends = {str(played(seed=seed, round_1={"num_trials": 7}).end) for seed in range(3)}
    assert len(ends) == 1


def test_an_optimizer_that_always_diverges_leaves_nothing_to_compare() -> None:
    def explodes(spec: RunSpec, step: int) -> Losses | str:
        return "non-finite" if spec.optimizer.name == "sgd" else measured(spec, step)

    lab = played(world=explodes, round_1={"num_trials": 8})
    (claim,) = claims(lab.config, lab.study)
    assert (
        claim == "optimizer: only optimizer=adamw has a feasible trial in round_2; there is nothing to compare it with."
    )


def test_without_a_replica_the_lead_is_undecided() -> None:
    lab = played(round_1={"num_trials": 8}, round_2={"num_trials": 2, "num_seeds": 1, "budget_multiple": 1})
    (claim,) = claims(lab.config, lab.study)
    assert claim.startswith("Undecided: optimizer=sgd leads with loss ")
    assert claim.endswith("but the seed deviation is unknown.")


def test_a_value_that_stays_behind_is_still_compared_in_round_1() -> None:
    lab = played(round_1={"num_trials": 8}, round_2={"num_trials": 1, "num_seeds": 2, "budget_multiple": 1})
    (rounds,) = isolations(lab.config, lab.study).values()
    assert [each.phase.name for each in rounds] == ["round_1", "round_2"]
    assert deciding(rounds).phase.name == "round_1"


def test_two_questions_are_each_compared_over_all_trials() -> None:
    space = {**QUESTION, "dropout": {"choices": [0.0, 0.3], "role": "scientific"}}
    lab = played(space, round_1={"num_trials": 8}, round_2={"num_trials": 4})
    combinations = [(trial.params["optimizer"], trial.params["dropout"]) for trial in lab.trials("round_1")]
    assert sorted(set(combinations)) == [("adamw", 0.0), ("adamw", 0.3), ("sgd", 0.0), ("sgd", 0.3)]
    assert {combinations.count(each) for each in combinations} == {2}
    assert lab.decision("sweep_opened").numbers["scientific"] == {"optimizer": "adamw", "dropout": 0.0}
    assert list(isolations(lab.config, lab.study)) == ["optimizer", "dropout"]


def test_a_rate_that_is_asked_about_has_no_twin_at_a_rate_that_is_not() -> None:
    space: dict[str, Any] = {"learning_rate": {"choices": [3e-4, 1e-3, 3e-3], "role": "scientific"}}
    twice = {"lower_rate_twin": True, "budget_multiple": 2}
    lab = played(space, round_1={"num_trials": 3}, round_2=twice)
    assert {trial.spec.learning_rate for trial in lab.trials("round_2")} <= {3e-4, 1e-3, 3e-3}
    opened = lab.decision("round_opened", "round_2")
    assert "no twin runs at half the best rate, since the learning rates are what the study asks about" in opened.reason
    assert opened.numbers["twin"] is None
    (round_2,) = (phase for phase in closed_form_plan(lab.config) if phase.name == "round_2")
    assert round_2.max_trials == 4
    nuisance = played(round_1={"num_trials": 6}, round_2=twice)
    assert nuisance.decision("round_opened", "round_2").numbers["twin"] == 4
    assert "no twin" not in nuisance.decision("round_opened", "round_2").reason


def test_the_plan_says_what_the_study_asks() -> None:
    assert describe_space(study_of(round_1={"num_trials": 9})) == (
        "search_space: asks about optimizer=adamw; optimizer=sgd, with 4 or 5 trials of round_1 each; tuned for each: "
        "learning_rate[optimizer=adamw], learning_rate[optimizer=sgd], beta1"
    )
    assert describe_space(config_of()) == ""
