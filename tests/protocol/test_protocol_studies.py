"""Forty made-up studies with planted answers: what the protocol decides in each, from the sweep to the end.

A row names what is planted, and the phases with their verdicts as they must come. `fits 600` is the sweep's budget.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from synthetic import Lab, Measured, World, bowl, config_of, trained

from tuner.records import Conclude, RunSpec

PROBE = {"num_trials": 6, "adjust": "probe", "max_adjustments": 2, "decay_shares": []}
AUTO = {"budget_multiple": "auto"}

Progress = Callable[[int], float]


def flat(step: int) -> float:
    return 1.5


def improves(step: int) -> float:
    """For ever, by a power law."""
    return 1.0 + 600 / (600 + step)


def until(end: int) -> Progress:
    """A straight fall by 0.5 that ends."""
    return lambda step: 2.0 - 0.5 * min(step, end) / end


def turns(at: int) -> Progress:
    """Falls to `at`, then overfits as fast."""
    return lambda step: 1.0 + abs(step - at) / 1000


def blooms(late: int) -> Progress:
    """Nothing for long, then everything at once."""
    return lambda step: 2.0 if step < late else 1.0


def early(step: int) -> float:
    """All of it within the first updates, then only worse."""
    return 1.0 + step / 10_000


def rounds(world: World) -> World:
    """Rounds that do as `world` says, after the usual sweep."""
    usual = bowl()
    return lambda spec, step: world(spec, step) if spec.schedule.decay_steps else usual(spec, step)


def explodes(above: float) -> World:
    """The usual rounds; rates above are not finite after some updates."""
    inner = trained(flat)
    return rounds(lambda spec, step: "non-finite" if spec.learning_rate > above and step > 100 else inner(spec, step))


def crashes(above: float) -> World:
    inner = trained(flat)
    return rounds(lambda spec, step: "crash" if spec.learning_rate > above and step > 100 else inner(spec, step))


def collapses(spec: RunSpec, step: int) -> Measured | str:
    return "non-finite"


RAW = {"round_1": {**PROBE, "adjust": "raw"}}
NONE = {"round_1": {**PROBE, "adjust": "none"}}

STUDIES: dict[str, tuple[World, dict[str, Any], str]] = {
    "flat plateau, decay helps": (
        trained(flat),
        {},
        "budget_sweep: fits 600, round_1: adequate, round_1.probe: no gain, round_2: undecided, answer: 600 adequate",
    ),
    "flat plateau, decay helps much": (
        trained(flat, decay_gain=0.5),
        {},
        "budget_sweep: fits 600, round_1: adequate, round_1.probe: no gain, round_2: undecided, answer: 600 adequate",
    ),
    "flat plateau, no gain in the decay, noise": (
        trained(flat, decay_gain=0.0, noise=0.02),
        {},
        "budget_sweep: fits 600, round_1: too long, round_2: undecided, answer: 75 too long",
    ),
    "flat plateau, decay helps, noise": (
        trained(flat, noise=0.01),
        {},
        "budget_sweep: fits 600, round_1: adequate, round_1.probe: no gain, round_2: undecided, answer: 600 adequate",
    ),
    "improves for ever": (
        trained(improves),
        {},
        "budget_sweep: fits 600, round_1: too short, round_1.probe: gain, round_1.2: too short, "
        "round_1.2.probe: gain, round_1.3: too short, round_1.3.probe: gain, round_2: undecided, "
        "answer: 4800 too short",
    ),
    "improves for ever, noise": (
        trained(improves, noise=0.01),
        {},
        "budget_sweep: fits 600, round_1: too short, round_1.probe: gain, round_1.2: too short, "
        "round_1.2.probe: gain, round_1.3: too short, round_1.3.probe: gain, round_2: undecided, "
        "answer: 4800 too short",
    ),
    "improves for ever, one adjustment": (
        trained(improves),
        {"round_1": {**PROBE, "max_adjustments": 1}},
        "budget_sweep: fits 600, round_1: too short, round_1.probe: gain, round_1.2: too short, "
        "round_1.2.probe: gain, round_2: undecided, answer: 2400 too short",
    ),
    "improves for ever, no adjustment": (
        trained(improves),
        {"round_1": {**PROBE, "max_adjustments": 0}},
        "budget_sweep: fits 600, round_1: too short, round_1.probe: gain, round_2: undecided, answer: 1200 too short",
    ),
    "improves until 1.5 budgets": (
        trained(until(900)),
        {},
        "budget_sweep: fits 600, round_1: too short, round_1.probe: gain, round_1.2: adequate, "
        "round_1.2.probe: no gain, round_2: undecided, answer: 1200 adequate",
    ),
    "improves until 2 budgets": (
        trained(until(1200)),
        {},
        "budget_sweep: fits 600, round_1: too short, round_1.probe: gain, round_1.2: adequate, "
        "round_1.2.probe: no gain, round_2: undecided, answer: 1200 adequate",
    ),
    "improves until 3 budgets": (
        trained(until(1800)),
        {},
        "budget_sweep: fits 600, round_1: too short, round_1.probe: gain, round_1.2: too short, "
        "round_1.2.probe: gain, round_1.3: adequate, round_1.3.probe: no gain, round_2: undecided, "
        "answer: 2400 adequate",
    ),
    "improves until half the budget, decay helps": (
        trained(until(300)),
        {},
        "budget_sweep: fits 600, round_1: adequate, round_1.probe: no gain, round_2: undecided, answer: 600 adequate",
    ),
    "improves until half the budget, decay does nothing": (
        trained(until(300), decay_gain=0.0),
        {},
        "budget_sweep: fits 600, round_1: adequate, round_1.probe: no gain, round_2: undecided, answer: 600 adequate",
    ),
    "best in the middle, then overfits": (
        trained(turns(300), decay_gain=0.0),
        {},
        "budget_sweep: fits 600, round_1: adequate, round_2: undecided, answer: 600 adequate",
    ),
    "best at a quarter, then overfits": (
        trained(turns(150), decay_gain=0.0),
        {},
        "budget_sweep: fits 600, round_1: adequate, round_2: undecided, answer: 600 adequate",
    ),
    "best at three quarters, then overfits": (
        trained(turns(450), decay_gain=0.0),
        {},
        "budget_sweep: fits 600, round_1: adequate, round_1.probe: no gain, round_2: undecided, answer: 600 adequate",
    ),
    "best at the very start": (
        trained(early, decay_gain=0.0),
        {},
        "budget_sweep: fits 600, round_1: too long, round_2: undecided, answer: 75 too long",
    ),
    "best at the very start, decay helps a little": (
        trained(early, decay_gain=0.001),
        {},
        "budget_sweep: fits 600, round_1: too long, round_2: undecided, answer: 75 too long",
    ),
    "blooms at half the budget": (
        trained(blooms(300), decay_gain=0.0),
        {},
        "budget_sweep: fits 600, round_1: adequate, round_1.probe: no gain, round_2: undecided, answer: 600 adequate",
    ),
    "blooms at 1.5 budgets, unseen in the first": (
        trained(blooms(900), decay_gain=0.1),
        {},
        "budget_sweep: fits 600, round_1: too short, round_1.probe: gain, round_1.2: adequate, "
        "round_1.2.probe: no gain, round_2: undecided, answer: 1200 adequate",
    ),
    "blooms at 5 budgets, beyond the probe": (
        trained(blooms(3000), decay_gain=0.1),
        {},
        "budget_sweep: fits 600, round_1: adequate, round_1.probe: no gain, round_2: undecided, answer: 600 adequate",
    ),
    "late best steps taken raw, flat": (
        trained(flat),
        RAW,
        "budget_sweep: fits 600, round_1: too short, round_1.2: too short, round_1.3: too short, "
        "round_2: undecided, answer: 600 too short",
    ),
    "late best steps taken raw, improves for ever": (
        trained(improves),
        RAW,
        "budget_sweep: fits 600, round_1: too short, round_1.2: too short, round_1.3: too short, "
        "round_2: undecided, answer: 4800 too short",
    ),
    "late best steps left alone": (
        trained(improves),
        NONE,
        "budget_sweep: fits 600, round_1: undecided (decay-confounded), round_2: undecided, "
        "answer: 600 undecided (decay-confounded)",
    ),
    "best in the middle, without a probe": (
        trained(turns(300), decay_gain=0.0),
        NONE,
        "budget_sweep: fits 600, round_1: adequate, round_2: undecided, answer: 600 adequate",
    ),
    "gain below min_gain": (
        trained(lambda step: 1.5 - 0.01 * step / 600),
        {},
        "budget_sweep: fits 600, round_1: adequate, round_1.probe: no gain, round_2: undecided, answer: 600 adequate",
    ),
    "the same gain, min_gain 0": (
        trained(lambda step: 1.5 - 0.01 * step / 600),
        {"round_1": {**PROBE, "min_gain": 0.0}},
        "budget_sweep: fits 600, round_1: too short, round_1.probe: gain, round_1.2: too short, "
        "round_1.2.probe: gain, round_1.3: too short, round_1.3.probe: gain, round_2: undecided, "
        "answer: 4800 too short",
    ),
    "four trials only": (
        trained(flat),
        {"round_1": {**PROBE, "num_trials": 4}},
        "budget_sweep: fits 600, round_1: undecided, round_2: undecided, answer: 600 undecided",
    ),
    "too few evaluations": (
        trained(flat),
        {"evaluation": {"every_steps": 100}},
        "budget_sweep: fits 600, round_1: undecided, round_2: undecided, answer: 600 undecided",
    ),
    "rounds explode above 3e-3": (
        explodes(3e-3),
        {},
        "budget_sweep: fits 600, round_1: adequate, round_1.probe: no gain, round_2: undecided, answer: 600 adequate",
    ),
    "rounds explode above 5e-4": (
        explodes(5e-4),
        {},
        "budget_sweep: fits 600, round_1: undecided, round_2: undecided, answer: 600 undecided",
    ),
    "rounds explode at every rate": (
        explodes(1e-9),
        {},
        "budget_sweep: fits 600, round_1: open, no answer",
    ),
    "rounds crash above 3e-3": (
        crashes(3e-3),
        {},
        "budget_sweep: fits 600, round_1: adequate, round_1.probe: no gain, round_2: undecided, answer: 600 adequate",
    ),
    "rounds crash at every rate": (
        crashes(1e-9),
        {},
        "budget_sweep: fits 600, round_1: open, no answer",
    ),
    "sweep: optimum 3e-4": (
        bowl(3.16228e-4),
        {},
        "budget_sweep: fits 600, round_1: too short, round_1.probe: gain, round_1.2: too short, "
        "round_1.2.probe: gain, round_1.3: too short, round_1.3.probe: gain, round_2: undecided, "
        "answer: 4800 too short",
    ),
    "sweep: optimum on the upper edge": (
        bowl(1e-2),
        {},
        "budget_sweep: fits 600, round_1: too short, round_1.probe: gain, round_1.2: too short, "
        "round_1.2.probe: gain, round_1.3: too short, round_1.3.probe: gain, round_2: undecided, "
        "answer: 4800 too short",
    ),
    "sweep: optimum on the lower edge": (
        bowl(1e-4),
        {},
        "budget_sweep: fits 600, round_1: too short, round_1.probe: gain, round_1.2: too short, "
        "round_1.2.probe: gain, round_1.3: too short, round_1.3.probe: gain, round_2: undecided, "
        "answer: 4800 too short",
    ),
    "sweep: optimum beyond the upper edge": (
        bowl(3.16228e-2),
        {},
        "budget_sweep: fits 600, round_1: too short, round_1.probe: gain, round_1.2: too short, "
        "round_1.2.probe: gain, round_1.3: too short, round_1.3.probe: gain, round_2: undecided, "
        "answer: 4800 too short",
    ),
    "sweep: optimum far beyond all widenings": (
        bowl(10.0),
        {},
        "budget_sweep: open, no answer",
    ),
    "sweep: no widening allowed": (
        bowl(1e-2),
        {"budget_sweep": {"max_widenings": 0}},
        "budget_sweep: open, no answer",
    ),
    "sweep: optimum below an unstable rate": (
        bowl(3.16228e-3, explode_above=5e-3),
        {},
        "budget_sweep: fits 600, round_1: too short, round_1.probe: gain, round_1.2: too short, "
        "round_1.2.probe: gain, round_1.3: too short, round_1.3.probe: gain, round_2: undecided, "
        "answer: 4800 too short",
    ),
    "sweep: slow fit after two doublings": (
        bowl(steps_at_optimum=2000),
        {},
        "budget_sweep: fits 2000, round_1: too short, round_1.probe: gain, round_1.2: too short, "
        "round_1.2.probe: gain, round_1.3: too short, round_1.3.probe: gain, round_2: undecided, "
        "answer: 16000 too short",
    ),
    "sweep: nothing fits": (
        bowl(steps_at_optimum=100_000),
        {},
        "budget_sweep: open, no answer",
    ),
    "sweep: every rate is infeasible": (
        collapses,
        {},
        "budget_sweep: open, no answer",
    ),
    "sweep: the whole curves are kept": (
        bowl(),
        {"budget_sweep": {"stop_when_dominated": False}},
        "budget_sweep: fits 600, round_1: too short, round_1.probe: gain, round_1.2: too short, "
        "round_1.2.probe: gain, round_1.3: too short, round_1.3.probe: gain, round_2: undecided, "
        "answer: 4800 too short",
    ),
}


def story(lab: Lab) -> str:
    """The phases with their verdicts, and the end."""
    told = [f"{phase.name}: {_short(phase.verdict)}" for phase in lab.phases]
    answered = isinstance(lab.end, Conclude)
    told.append(f"answer: {lab.end.answer.max_train_steps} {lab.end.answer.verdict}" if answered else "no answer")
    return ", ".join(told)


def _short(verdict: str | None) -> str:
    if verdict is not None and verdict.startswith("fits in"):
        return f"fits {verdict.split()[2].replace(',', '')}"
    return verdict or "open"


@pytest.mark.parametrize("name", STUDIES)
def test_a_study_with_a_planted_answer_takes_its_course(name: str) -> None:
    world, sections, expected = STUDIES[name]
    lab = Lab(config_of(**{"round_1": PROBE, "round_2": AUTO, **sections}), world).play(max_moves=80)
    assert story(lab) == expected


def test_the_table_holds_at_least_forty_studies() -> None:
    assert len(STUDIES) >= 40
