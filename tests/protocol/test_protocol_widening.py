"""A best point on the edge of the rates: a few points beyond it, once, before the verdict."""

from __future__ import annotations

from typing import Any

import pytest
from synthetic import Lab, Measured, World, bowl, config_of

from tuner.protocol.space import space_of
from tuner.records import AddTrials, RunSpec


def best_at(rate: float, *, explode_above: float = float("inf")) -> World:
    """The sweep fits best at 1e-3; with a decay `rate` is the best."""
    sweep, rounds = bowl(1e-3), bowl(rate, explode_above=explode_above)

    def measure(spec: RunSpec, step: int) -> Measured | str:
        return (rounds if spec.schedule.decay_steps else sweep)(spec, step)

    return measure


def played(world: World, **sections: Any) -> Lab:
    return Lab(config_of(**sections), world).play()


def widened(lab: Lab) -> list[AddTrials]:
    return [move for move in lab.moves if isinstance(move, AddTrials) and move.phase == "round_1"]


@pytest.mark.parametrize(
    ("optimum", "edge", "low", "high"), [(1e-1, "upper", 1e-2, 3e-2), (1e-5, "lower", 3.333e-5, 1e-4)]
)
def test_the_range_grows_past_the_edge_of_the_best_point(optimum: float, edge: str, low: float, high: float) -> None:
    lab = played(
        best_at(optimum),
        search_space={"learning_rate": {"low": 1e-4, "high": 1e-2, "scale": "log"}},
        round_1={"num_trials": 8},
    )
    lab = lab if widened(lab) else played(best_at(optimum), round_1={"num_trials": 16})
    (move,) = widened(lab)
    assert move.within == {"learning_rate": (low, high)}
    assert lab.decision("widened", "round_1").numbers["edge"] == edge
    assert [t.number for t in lab.trials("round_1")] == list(range(len(lab.trials("round_1"))))
    assert len(lab.trials("round_1")) == lab.config.round_1.num_trials + max(2, lab.config.round_1.num_trials // 4)


def test_it_grows_once_even_if_the_best_point_moves_on() -> None:
    lab = played(best_at(1.0), round_1={"num_trials": 16})
    assert len(widened(lab)) == 1
    assert max(t.spec.learning_rate for t in lab.trials("round_1")) > 1e-2
    rates = space_of(lab.config, lab.decisions)["learning_rate"]
    assert (rates.low, rates.high) == (1e-4, 3e-2)


def test_the_verdict_waits_for_the_new_points() -> None:
    lab = played(best_at(1.0), round_1={"num_trials": 16})
    assert lab.decision("verdict", "round_1").numbers["num_feasible"] == 20
    assert lab.kinds().index("widened") < lab.kinds().index("verdict")


@pytest.mark.parametrize(
    "sections",
    [
        {"round_1": {"num_trials": 16, "widen_at_edge": False}},
        {"search_space": {"learning_rate": {"choices": [1e-4, 1e-3, 1e-2]}}},
        {"search_space": {"learning_rate": {"low": 1e-4, "high": 1e-2, "scale": "linear"}}},
    ],
)
def test_what_may_not_be_widened_is_not(sections: dict[str, Any]) -> None:
    config = config_of(**sections)
    if "search_space" in sections:
        config = config.model_copy(
            update={
                "search_space": type(config)
                .model_validate({**config.model_dump(by_alias=True), **sections})
                .search_space
            }
        )
    if "choices" in sections.get("search_space", {}).get("learning_rate", {}):
        from tuner.protocol.widening import may_widen

        assert not may_widen(config)
        return
    assert not widened(Lab(config, best_at(1.0)).play())


def test_an_inner_best_point_widens_nothing() -> None:
    assert not widened(played(best_at(1e-3), round_1={"num_trials": 16}))


def test_an_infeasible_rate_beyond_the_best_closes_the_range() -> None:
    lab = played(best_at(1.0, explode_above=7.6e-3), round_1={"num_trials": 40})
    best = max(t.spec.learning_rate for t in lab.trials("round_1") if t.is_feasible)
    assert best > 6.4e-3, "the best point lies in the outermost tenth"
    assert not widened(lab)


def test_an_automatic_range_is_widened_as_decided() -> None:
    lab = played(best_at(1.0), search_space="auto", round_1={"num_trials": 16})
    opened = lab.decision("round_opened", "round_1").numbers["search_space"]["learning_rate"]
    (move,) = widened(lab)
    assert move.within["learning_rate"] == (opened["high"], pytest.approx(3 * opened["high"], rel=1e-3))


@pytest.mark.parametrize(("hours", "num_trials"), [(None, 20), (17.0, 20), (16.5, 16)])
def test_a_compute_bound_round_is_widened_too_for_its_budget_alone_is_never_adjusted(
    hours: float | None, num_trials: int
) -> None:
    # The sweep 2,500 steps and its cooldown 250, 16 points of 2,000, four more 8,000, a production run beside the least
    # of it: 20,000 - 0.8 * 2,000.
    config = config_of(
        workload_kind="compute_bound",
        budget={"production_steps": 20_000, "perfect_fit": None},
        round_1={"num_trials": 16},
        round_2={"num_trials": 1, "num_seeds": 1, "budget_multiple": "auto"},
        limits={"study_hours": hours},
    )
    clock = None if hours is None else lambda done: 1.0
    lab = Lab(config, best_at(1.0), seconds_per_step=clock).play()
    assert len(lab.trials("round_1")) == num_trials
    assert [p.name for p in lab.phases if p.plan.kind == "round_1"] == ["round_1"]
    assert lab.study.phase("round_2").plan.max_train_steps == 20_000
