"""How many steps does sharing save? Counted from the learning rates themselves, without training: exact on any machine.

    python tests/benchmarks/counted_steps.py

The frontier is the one that the protocol itself plans: eight budgets between half and all of the answer's. `as a tree`
is the stage tree, distinct (recipe, step) pairs, and what `tuner` executes; `separately` trains each budget from its
first step; `formula` is PROTOCOL 8's T(1 - d) + d * sum(T_i). `on the answer's trunk` is what is left to do once the
study has its answer, whose own run is the longest budget: it counts on neither side.

The protocols are played against made-up curves by the planner's own code. `separately` trains every trial from its
first step, but the sweep's rungs go on from each other; `each run once` looks up a run that was trained before.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from tuner.config.schema import Frontier, StudyConfig
from tuner.protocol.frontier import advance_frontier
from tuner.records import (
    Answer,
    EvalSpec,
    OpenPhase,
    OptimizerSpec,
    PhasePlan,
    PhaseRecord,
    RunSpec,
    ScheduleSpec,
    StudyRecord,
    TrialRecord,
)
from tuner.storage.bill import Path as TreePath
from tuner.storage.bill import distinct_steps
from tuner.training.recipe import static_digest
from tuner.training.schedule import learning_rates

sys.path.insert(0, str(Path(__file__).parents[1] / "protocol"))
from synthetic import Lab, config_of, trained

EVALUATIONS = 50
Run = tuple[RunSpec, int]
"""A run and how far it went."""


def stage_tree(runs: Iterable[Run]) -> int:
    """Distinct (recipe, step) pairs of the runs."""
    paths = [TreePath(static_digest(spec, spec.workload_options), spec, length) for spec, length in runs]
    return distinct_steps(
        paths, lambda spec, start, stop: learning_rates(spec, start, stop).astype(np.float64).tobytes()
    )


def each_once(runs: Iterable[Run]) -> int:
    """Steps of a script that trains nothing twice, but everything from its first step."""
    different: dict[Any, int] = {}
    for spec, length in runs:
        # Cadence and reserved states shape no weights.
        run = replace(spec, fork_steps=(), eval_every_steps=1, max_train_steps=length)
        different[repr(asdict(run))] = length
    return sum(different.values())


# ---------------------------------------------------------------- the frontier alone


@dataclass(frozen=True, slots=True, kw_only=True)
class CountedFrontier:
    decay_share: float
    half_rate: bool
    separately: int
    formula: float
    tree: int
    stands: int
    marginal: int

    @property
    def alone(self) -> float:
        return self.separately / self.tree

    @property
    def on_trunk(self) -> float:
        return (self.separately - self.stands) / self.marginal


def answered(*, max_train_steps: int, decay_share: float, seed: int) -> RunSpec:
    """The run of an answer of this length."""
    return RunSpec(
        seed=seed,
        max_train_steps=max_train_steps,
        learning_rate=1e-3,
        schedule=ScheduleSpec(
            kind="warmup_stable_decay", warmup_steps=100, decay_steps=round(decay_share * max_train_steps)
        ),
        optimizer=OptimizerSpec(name="adamw", weight_decay=0.01),
        max_grad_norm=1.0,
        precision="fp32",
        global_batch_size=16,
        eval_every_steps=max_train_steps // EVALUATIONS,
    )


def count_frontier(*, max_train_steps: int, decay_share: float, half_rate: bool) -> CountedFrontier:
    """The frontier that the protocol plans from an answer of this length."""
    config = config_of(frontier={"num_budgets": 8, "half_rate": half_rate})
    base = answered(max_train_steps=max_train_steps, decay_share=decay_share, seed=config.seed)
    runs = [(spec, spec.max_train_steps) for spec in _planned(config, base)]
    budgets = [length for _, length in runs]
    trunks = 1 + half_rate
    formula = trunks * max_train_steps * (1 - decay_share) + decay_share * sum(budgets)
    answers = [(base, max_train_steps)]
    return CountedFrontier(
        decay_share=decay_share,
        half_rate=half_rate,
        separately=sum(budgets),
        formula=formula,
        tree=stage_tree(runs),
        stands=max_train_steps,
        marginal=stage_tree([*answers, *runs]) - stage_tree(answers),
    )


def _planned(config: StudyConfig, base: RunSpec) -> list[RunSpec]:
    point = {"learning_rate": base.learning_rate}
    trial = TrialRecord(trial=1, phase="round_2", number=0, params=dict(point), spec=base, state="ended")
    plan = PhasePlan(
        name="round_2",
        kind="round_2",
        max_train_steps=base.max_train_steps,
        eval=EvalSpec(
            metric="loss", direction="minimize", batch_size=64, num_train_examples=64, averaged_horizons=(100,)
        ),
    )
    study = StudyRecord(
        name="counted", state="running", phases=(PhaseRecord(plan=plan, trials=(trial,), is_closed=True),)
    )
    answer = Answer(
        max_train_steps=base.max_train_steps,
        verdict="adequate",
        best_trial=1,
        best_step=base.max_train_steps,
        best_value=1.0,
        metric="loss",
        params=dict(point),
        sharing="exact",
    )
    move = advance_frontier(config, study, answer)
    assert isinstance(move, OpenPhase)
    return [trial.spec for trial in move.trials]


def print_frontiers() -> None:
    heads = ("T", "decay", "trunks", "separately", "as a tree", "formula", "fewer alone")
    heads = (*heads, "on the answer's trunk", "fewer on it", "bound 1/d")
    print(f"| {' | '.join(heads)} |\n|{'---|' * len(heads)}")
    for length in (1_000, 10_000, 100_000):
        for share in (0.2, 0.1):
            for half_rate in (False, True):
                found = count_frontier(max_train_steps=length, decay_share=share, half_rate=half_rate)
                trunks = "the answer's, one at half its rate" if half_rate else "the answer's"
                cells = (
                    f"{length:,}",
                    f"{share:.0%}",
                    trunks,
                    f"{found.separately:,}",
                    f"{found.tree:,}",
                    f"{found.formula:,.0f}",
                    f"{found.alone:.2f}",
                    f"{found.marginal:,}",
                    f"{found.on_trunk:.2f}",
                    f"{1 / share:.0f}",
                )
                print(f"| {' | '.join(cells)} |")


def print_proxies() -> None:
    """A frontier by averaged weights: its trunk and the real cooldowns that calibrate it."""
    if "proxy" not in Frontier.model_fields:
        print("Missing: this version has no frontier by averaged weights.")
        return
    heads = ("T", "decay", "eight budgets separately", "proxy as a tree", "fewer alone", "bound 6 / (1 + 1.5 d)")
    print(f"| {' | '.join(heads)} |\n|{'---|' * len(heads)}")
    for share in (0.2, 0.1):
        exact = count_frontier(max_train_steps=10_000, decay_share=share, half_rate=False)
        config = config_of(frontier={"proxy": True, "half_rate": False}, evaluation={"averaged_horizons": [100]})
        base = answered(max_train_steps=10_000, decay_share=share, seed=config.seed)
        tree = stage_tree([(spec, spec.max_train_steps) for spec in _planned(config, base)])
        bound = 6 / (1 + 1.5 * share)
        print(
            f"| 10,000 | {share:.0%} | {exact.separately:,} | {tree:,} | {exact.separately / tree:.2f} | {bound:.2f} |"
        )


# ---------------------------------------------------------------- whole protocols


PROTOCOLS: dict[str, dict[str, Any]] = {
    "quick (studies/quickstart.yaml)": {
        "round_1": {"num_trials": 5, "adjust": "raw", "max_adjustments": 1, "decay_shares": []},
        "round_2": {"num_trials": 2, "num_seeds": 2, "budget_multiple": 2, "lower_rate_twin": False},
    },
    "the defaults": {
        "round_1": {"num_trials": 8, "adjust": "probe", "decay_shares": [0.1, 0.2, 0.4]},
        "round_2": {"num_trials": 2, "num_seeds": 2, "budget_multiple": "auto", "lower_rate_twin": True},
    },
    "20 points, three rounds": {
        "round_1": {"num_trials": 20, "adjust": "probe", "decay_shares": [0.1, 0.2, 0.4]},
        "round_2": None,
        "rounds": [
            {"num_trials": 5, "num_seeds": 1, "budget_multiple": 2},
            {"num_trials": 2, "num_seeds": 3, "budget_multiple": 2},
        ],
    },
}
LEVELS_OFF_AT = (300, 1_000, 3_000)
"""Steps after which longer training gains nothing; the sweep finds a budget of 600."""


def played(sections: dict[str, Any], levels_off_at: int) -> Lab:
    """A study of these settings with a frontier, played to its end."""
    world = trained(lambda step: 2.0 - 1.0 * min(step, levels_off_at) / levels_off_at)
    return Lab(config_of(frontier={"decay_share": 0.2}, **sections), world).play(max_moves=200)


def runs_of(lab: Lab, *, frontier: bool) -> list[Run]:
    trials = [trial for phase in lab.phases for trial in phase.trials if frontier or phase.plan.kind != "frontier"]
    return [(trial.spec, trial.last_step) for trial in trials]


def print_protocols() -> None:
    heads = ("protocol", "levels off at", "round 1's budgets", "longest run", "frontier", "separately")
    heads = (*heads, "each run once", "as a tree", "fewer than separately", "fewer than each once")
    print(f"| {' | '.join(heads)} |\n|{'---|' * len(heads)}")
    for name, sections in PROTOCOLS.items():
        for levels_off_at in LEVELS_OFF_AT:
            lab = played(sections, levels_off_at)
            budgets = [phase.plan.max_train_steps for phase in lab.phases if phase.plan.kind == "round_1"]
            longest = max(trial.spec.max_train_steps for phase in lab.phases for trial in phase.trials)
            for frontier in (False, True):
                runs = runs_of(lab, frontier=frontier)
                separately, once, tree = sum(length for _, length in runs), each_once(runs), stage_tree(runs)
                about = (f"{levels_off_at:,}", ", ".join(f"{each:,}" for each in budgets), f"{longest:,}")
                counts = (f"{separately:,}", f"{once:,}", f"{tree:,}", f"{separately / tree:.2f}", f"{once / tree:.2f}")
                print(f"| {' | '.join((name, *about, 'yes' if frontier else 'no', *counts))} |")


def main() -> None:
    print("An exact frontier of eight budgets between T/2 and T:\n")
    print_frontiers()
    print("\nA frontier by averaged weights, whose every evaluation is a budget:\n")
    print_proxies()
    print("\nWhole protocols on made-up curves, without and with a frontier of decay 20 %:\n")
    print_protocols()


if __name__ == "__main__":
    main()
