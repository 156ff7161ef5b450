"""Optuna's tables follow ours."""

import sqlite3
from contextlib import closing
from dataclasses import asdict, replace
from pathlib import Path

import optuna
import pytest
from optuna.distributions import FloatDistribution
from optuna.storages import RDBStorage
from sqlalchemy import Engine, event

from tuner.config.schema import StudyConfig
from tuner.records import (
    Decision,
    EvalSpec,
    OptimizerSpec,
    Outcome,
    PhasePlan,
    PhaseRecord,
    RunSpec,
    ScheduleSpec,
    StudyRecord,
    TrialRecord,
    WorkloadFacts,
)
from tuner.storage.database import Database, parse_url
from tuner.storage.optuna_values import TRIAL_ATTRIBUTE, is_known_layout, is_mirrored
from tuner.trials import mirror
from tuner.trials.mirror import Mirror
from tuner.trials.outcomes import optuna_end

CONFIG = StudyConfig.model_validate(
    {
        "study": "mirrored",
        "workload": {"kind": "python", "class": "a:B"},
        "budget": {"max_steps": 2000},
        "search_space": {"learning_rate": {"low": 1e-4, "high": 1e-2, "scale": "log"}},
    }
)
SPEC = RunSpec(
    seed=0,
    max_train_steps=40,
    learning_rate=1e-3,
    schedule=ScheduleSpec(kind="constant", warmup_steps=0),
    optimizer=OptimizerSpec(name="adamw", weight_decay=0.0),
    max_grad_norm=None,
    precision="fp32",
    global_batch_size=4,
    eval_every_steps=20,
)
PLAN = PhasePlan(
    name="round_1",
    kind="round_1",
    max_train_steps=40,
    eval=EvalSpec(metric="loss", direction="minimize", batch_size=4, num_train_examples=4),
)
TRIALS = tuple(
    TrialRecord(
        trial=10 + n, phase="round_1", number=n, params={"learning_rate": 1e-3 * (n + 1)}, spec=SPEC, state="running"
    )
    for n in range(4)
)
CURVES = {trial.trial: {("validation", "loss"): ((20, 1.5), (40, 1.0))} for trial in TRIALS}


def record(*trials: TrialRecord) -> StudyRecord:
    return StudyRecord(name="mirrored", state="running", phases=(PhaseRecord(plan=PLAN, trials=trials),), curves=CURVES)


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path / 'mirror.db'}"


def mirrored(url: str) -> list[optuna.trial.FrozenTrial]:
    return optuna.load_study(study_name="mirrored/round_1", storage=url).trials


def ended(trial: TrialRecord, kind: str, reason: str = "") -> TrialRecord:
    return replace(trial, state="ended", outcome=Outcome(kind, reason), best_value=1.0, best_step=40, last_step=40)  # type: ignore[arg-type]


def test_running_trials_appear_and_waiting_ones_do_not(url: str) -> None:
    Mirror(url, CONFIG).sync(record(TRIALS[0], replace(TRIALS[1], state="waiting")))
    (trial,) = mirrored(url)
    assert trial.state == optuna.trial.TrialState.RUNNING
    assert trial.params == TRIALS[0].params


def test_each_outcome_has_its_optuna_state(url: str) -> None:
    kinds = ("complete", "infeasible", "stopped", "crashed")
    Mirror(url, CONFIG).sync(record(*(ended(trial, kind) for trial, kind in zip(TRIALS, kinds, strict=True))))
    assert [trial.state.name for trial in mirrored(url)] == ["COMPLETE", "PRUNED", "PRUNED", "FAIL"]
    assert mirrored(url)[0].value == 1.0


def test_ended_trials_bring_their_curve(url: str) -> None:
    follower = Mirror(url, CONFIG)
    follower.sync(record(TRIALS[0]))
    follower.sync(record(ended(TRIALS[0], "complete")))
    (trial,) = mirrored(url)
    assert trial.intermediate_values == {20: 1.5, 40: 1.0}


def test_a_new_mirror_adds_only_what_is_missing(url: str) -> None:
    Mirror(url, CONFIG).sync(record(ended(TRIALS[0], "complete"), TRIALS[1]))
    Mirror(url, CONFIG).sync(record(*(ended(trial, "complete") for trial in TRIALS[:3])))
    trials = mirrored(url)
    assert [trial.user_attrs[TRIAL_ATTRIBUTE] for trial in trials] == [10, 11, 12]
    assert all(trial.state == optuna.trial.TrialState.COMPLETE for trial in trials)


def test_a_widened_rate_outside_the_configured_range_is_mirrored(url: str) -> None:
    sweep = replace(PLAN, name="budget_sweep", kind="budget_sweep")
    trial = replace(TRIALS[0], phase="budget_sweep", params={"learning_rate": 0.5})
    study = StudyRecord(name="mirrored", state="running", phases=(PhaseRecord(plan=sweep, trials=(trial,)),), curves={})
    Mirror(url, CONFIG).sync(study)
    (mirrored_trial,) = optuna.load_study(study_name="mirrored/budget_sweep", storage=url).trials
    assert mirrored_trial.params == {"learning_rate": 0.5}


def test_a_trial_that_a_fit_may_still_cut_ends_with_its_phase(url: str) -> None:
    exact = replace(PLAN, name="budget_sweep", kind="budget_sweep", stop_when_dominated=True)
    trial = replace(ended(TRIALS[0], "complete", "fitted"), phase="budget_sweep")
    cut = replace(trial, outcome=Outcome("stopped", "dominated"), last_step=20)
    follower = Mirror(url, CONFIG)
    for phase in (PhaseRecord(plan=exact, trials=(trial,)), PhaseRecord(plan=exact, trials=(cut,), is_closed=True)):
        follower.sync(StudyRecord(name="mirrored", state="running", phases=(phase,), curves=CURVES))
    (mirrored_trial,) = optuna.load_study(study_name="mirrored/budget_sweep", storage=url).trials
    assert mirrored_trial.state == optuna.trial.TrialState.PRUNED


def test_a_trial_that_may_be_named_collapsed_ends_with_its_phase(url: str) -> None:
    facts = WorkloadFacts(
        num_train_examples=9, num_validation_examples=9, num_test_examples=9, metrics=("loss",), constant_loss=0.7
    )
    known = (Decision(kind="facts", reason="", numbers=asdict(facts)),)
    losses = {TRIALS[0].trial: 0.8, TRIALS[1].trial: 0.2}
    curves = {trial: {**CURVES[trial], ("train", "loss"): ((20, loss), (40, loss))} for trial, loss in losses.items()}
    well = [ended(trial, "complete") for trial in TRIALS[:2]]
    follower = Mirror(url, CONFIG)
    follower.sync(replace(record(*well), curves=curves, decisions=known))
    assert [trial.state.name for trial in mirrored(url)] == ["RUNNING", "COMPLETE"]
    named = [ended(TRIALS[0], "infeasible", "collapsed"), well[1]]
    follower.sync(replace(record(*named), curves=curves, decisions=known))
    assert [trial.state.name for trial in mirrored(url)] == ["PRUNED", "COMPLETE"]


def test_trials_that_an_extension_took_up_again_end_as_they_end_then(url: str) -> None:
    given_up = [ended(trial, "stopped", "no answer") for trial in TRIALS[:2]]
    Mirror(url, CONFIG).sync(replace(record(*given_up), state="no_answer"))
    follower = Mirror(url, CONFIG)
    follower.sync(record(replace(TRIALS[0], state="paused"), replace(TRIALS[1], state="waiting")))
    assert [trial.state.name for trial in mirrored(url)] == ["RUNNING"]
    follower.sync(record(ended(TRIALS[0], "complete"), ended(TRIALS[1], "infeasible", "diverged")))
    assert [(trial.state.name, trial.value) for trial in mirrored(url)] == [("COMPLETE", 1.0), ("PRUNED", 1.0)]


def test_a_point_beyond_the_choices_that_joins_an_open_phase_is_mirrored(url: str) -> None:
    space = {"learning_rate": {"low": 1e-4, "high": 1e-2, "scale": "log"}, "options.width": {"choices": [8, 16]}}
    config = StudyConfig.model_validate({**CONFIG.model_dump(mode="json", by_alias=True), "search_space": space})
    trials = [replace(t, params={**t.params, "options.width": w}) for t, w in zip(TRIALS, (8, 16, 12, 8), strict=True)]
    follower = Mirror(url, config)
    follower.sync(record(*(ended(trial, "complete") for trial in trials[:2])))
    extended = (Decision(kind="extended", reason="", numbers={"changes": [], "points": []}),)
    follower.sync(replace(record(*(ended(trial, "complete") for trial in trials)), decisions=extended))
    assert [trial.params["options.width"] for trial in mirrored(url)] == [8, 16, 12, 8]
    assert [trial.state.name for trial in mirrored(url)] == ["COMPLETE"] * 4


def test_an_automatic_space_is_mirrored_as_it_was_decided(url: str) -> None:
    space = {"learning_rate": {"low": 1e-4, "high": 1e-2, "scale": "log"}, "beta1": {"low": 0.8, "high": 0.99}}
    opened = Decision(kind="round_opened", reason="", phase="round_1", numbers={"search_space": space})
    config = CONFIG.model_copy(update={"search_space": "auto"})
    trial = replace(TRIALS[0], params={"learning_rate": 1e-3, "beta1": 0.9})
    Mirror(url, config).sync(replace(record(trial), decisions=(opened,)))
    (found,) = mirrored(url)
    rates, beta1 = found.distributions["learning_rate"], found.distributions["beta1"]
    assert isinstance(rates, FloatDistribution)
    assert isinstance(beta1, FloatDistribution)
    assert (rates.low, rates.high, rates.log, beta1.low, beta1.high) == (1e-4, 1e-2, True, 0.8, 0.99)


def test_values_written_at_once_are_the_rows_that_optuna_writes(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    kinds = (("complete", ""), ("infeasible", "diverged"), ("stopped", "dominated"))
    study = record(*(ended(trial, *kind) for trial, kind in zip(TRIALS, kinds, strict=False)))
    found = []
    for place in ("at-once", "one-by-one"):
        here = url.replace("mirror.db", f"{place}.db")
        if place == "one-by-one":
            monkeypatch.setattr(mirror, "is_known_layout", lambda engine: False)
            monkeypatch.setattr(mirror, "insert_values", None)
        Mirror(here, CONFIG).sync(study)
        with closing(sqlite3.connect(here.removeprefix("sqlite:///"))) as connection:
            rows = connection.execute("select * from trial_intermediate_values order by trial_id, step").fetchall()
        found.append((rows, [(one.state, one.value, one.intermediate_values) for one in mirrored(here)]))
    assert found[0] == found[1]
    assert len(found[0][0]) == 6


def test_a_layout_that_is_not_known_is_left_to_optuna(url: str) -> None:
    Mirror(url, CONFIG).sync(record(TRIALS[0]))
    engine = RDBStorage(url).engine
    assert is_known_layout(engine)
    with closing(sqlite3.connect(url.removeprefix("sqlite:///"))) as connection:
        connection.execute("alter table trial_intermediate_values add column of_the_future text")
    assert not is_known_layout(engine)


def test_trials_end_as_tell_would_end_them(url: str) -> None:
    kinds = (("complete", ""), ("infeasible", "diverged"), ("stopped", "dominated"), ("crashed", "killed"))
    study = record(*(ended(trial, *kind) for trial, kind in zip(TRIALS, kinds, strict=True)))
    study = replace(study, curves={**CURVES, TRIALS[2].trial: {}})
    Mirror(url, CONFIG).sync(study)
    told = optuna.create_study(storage=url, study_name="told")
    for ours in study.trials():
        trial = told.ask()
        for step, value in study.curve(ours.trial, "validation", "loss"):
            trial.report(value, step)
        end = optuna_end(ours)
        told.tell(trial, end.value, state=end.state)
    theirs = [(one.state, one.value, one.intermediate_values) for one in told.trials]
    assert [(one.state, one.value, one.intermediate_values) for one in mirrored(url)] == theirs
    assert [value for _, value, _ in theirs] == [1.0, 1.0, None, None]


def test_a_mirror_is_complete_once_every_started_trial_has_ended_there(url: str, tmp_path: Path) -> None:
    database = Database(parse_url(url), place="here")
    well = [ended(trial, "complete") for trial in TRIALS[:2]]

    def is_complete(study: StudyRecord) -> bool:
        with database.read() as connection:
            return is_mirrored(connection, study)

    (tmp_path / "mirror.db").touch()
    assert not is_complete(record(*well))
    Mirror(url, CONFIG).sync(record(well[0], TRIALS[1]))
    assert not is_complete(record(*well))
    Mirror(url, CONFIG).sync(record(*well))
    assert is_complete(record(*well, replace(TRIALS[2], state="waiting")))
    assert not is_complete(record(*well, ended(TRIALS[2], "complete")))
    database.close()


def test_trials_are_recognised_by_rows_as_by_optuna(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    study = record(ended(TRIALS[0], "complete"), TRIALS[1], ended(TRIALS[2], "crashed"))
    Mirror(url, CONFIG).sync(study)
    found = []
    for is_known in (True, False):
        monkeypatch.setattr(mirror, "is_known_layout", lambda engine, is_known=is_known: is_known)
        new = Mirror(url, CONFIG)
        found.append(new._twins(new._study(study.phases[0], "mirrored")))
    assert found[0] == found[1]
    assert [(twin.trial, twin.is_finished) for twin in found[0]] == [(10, True), (11, False), (12, True)]


def test_a_death_while_optunas_tables_are_made_leaves_none_behind(url: str) -> None:
    """SQLite commits each statement by itself; a table without its index would hold two studies of one name."""

    def die(_connection: object, _cursor: object, statement: str, *_rest: object) -> None:
        if "CREATE UNIQUE INDEX ix_studies_study_name" in statement:
            raise KeyboardInterrupt

    event.listen(Engine, "before_cursor_execute", die)
    try:
        with pytest.raises(KeyboardInterrupt):
            Mirror(url, CONFIG).sync(record(*TRIALS))
    finally:
        event.remove(Engine, "before_cursor_execute", die)
    with closing(sqlite3.connect(url.removeprefix("sqlite:///"))) as database:
        assert not database.execute("select name from sqlite_master where name = 'studies'").fetchall()
    for _ in range(2):
        again = Mirror(url, CONFIG)
        again.sync(record(*TRIALS))
        again.close()
    assert len(mirrored(url)) == len([trial for trial in TRIALS if trial.state != "waiting"])
