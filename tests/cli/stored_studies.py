"""A real store that holds a made-up study, for the commands that read."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "report"))


from tuner.config.canonical import config_to_json
from tuner.config.schema import StudyConfig
from tuner.records import (
    ClosePhase,
    Conclude,
    Evaluation,
    GiveUp,
    OpenPhase,
    PhaseRecord,
    StudyRecord,
    TrialPlan,
)
from tuner.storage.store import Lease, Owner, Progress, Store


def keep_study(home: Path, study: StudyRecord, config: StudyConfig) -> None:
    """Store a made-up study through the store's own methods, as a planner and one worker would."""
    store = Store.open(None, home)
    store.create_study(study.name, config=config_to_json(config), folder=".", command="tuner run quickstart.yaml")
    owner = Owner.of_this_process("test")
    lease = store.acquire_planner(study.name, owner)
    for index, phase in enumerate(study.phases):
        _keep_phase(store, lease, study, phase=phase, is_first=index == 0)
    if study.answer is not None:
        store.apply(lease, Conclude(answer=study.answer))
    elif study.state == "no_answer":
        store.apply(lease, GiveUp(reason=study.reason or ""))
    store.release(lease)
    store.close()


def _keep_phase(store: Store, lease: Lease, study: StudyRecord, *, phase: PhaseRecord, is_first: bool) -> None:
    plans = tuple(TrialPlan(number=t.number, params=dict(t.params), spec=t.spec) for t in phase.trials)
    told = tuple(d for d in study.decisions if d.phase == phase.name or (is_first and d.phase is None))
    store.apply(lease, OpenPhase(plan=phase.plan, trials=plans, decisions=told))
    for trial in phase.trials:
        if not trial.is_ended:
            continue
        claim = store.claim(study.name, Owner.of_this_process("test"))
        assert claim is not None
        assert claim.trial.number == trial.number
        request = {"numerics": {}, "numerics_key": "n", "eval_key": "e", "share": False, "key_at": str}
        store.begin_attempt(claim.lease, static_digest=str(trial.trial), **request)  # type: ignore[arg-type]
        rows = [
            Evaluation(global_step=step, split=split, metric=metric, value=value)
            for (split, metric), curve in study.curves[trial.trial].items()
            for step, value in curve
        ]
        progress = Progress(to_step=trial.last_step, seconds={"train": 1.5, "eval": 0.25})
        store.record_evaluation(claim.lease, rows, eval_key="e", progress=progress)
        assert trial.outcome is not None
        store.end_trial(claim.lease, trial.outcome, weights_digest=trial.weights_digest, progress=progress)
    if phase.is_closed:
        store.apply(lease, ClosePhase(phase=phase.name, verdict=phase.verdict or "", reason=phase.reason or ""))
