"""Moves of the protocol, evaluations and the study as read back."""

from __future__ import annotations

import math
import time
from dataclasses import replace

import pytest
from storage_cases import ELSEWHERE, ME, FakeWorker, execute, make_move, make_plan, make_spec, open_study, snapshot

from tuner.errors import StudyError
from tuner.records import (
    AddTrials,
    Answer,
    ClosePhase,
    Conclude,
    Decision,
    EndTrials,
    Evaluation,
    GiveUp,
    Outcome,
    RaiseTarget,
    TrialPlan,
    Wait,
)
from tuner.storage.clock import as_text
from tuner.storage.store import Progress, Store

ANSWER = Answer(
    max_train_steps=100,
    verdict="adequate",
    best_trial=1,
    best_step=80,
    best_value=0.1 + 0.2,
    metric="loss",
    params={"learning_rate": 1e-3},
    sharing="exact",
)


def test_study_is_read_back_as_it_was_written(store: Store) -> None:
    spec = replace(make_spec(), workload_options={"dropout": 0.1})
    lease = open_study(store, [spec, make_spec(rate=2e-3)])
    decision = Decision(kind="note", reason="because", phase="round_1", numbers={"n": [1, None, 0.1]})
    store.apply(lease, AddTrials(phase="round_1", trials=(), decisions=(decision,)))
    study = store.load("x")
    (phase,) = study.phases
    assert (study.name, study.state, study.answer, study.decisions) == ("x", "running", None, (decision,))
    assert phase.plan == make_plan()
    assert [trial.number for trial in phase.trials] == [0, 1]
    assert phase.trials[0].spec == spec
    assert phase.trials[0].params == {"learning_rate": 1e-3}
    assert (phase.trials[0].state, phase.trials[0].outcome) == ("waiting", None)


def test_curves_are_read_back_bit_for_bit_and_only_on_request(store: Store) -> None:
    open_study(store, [make_spec(), make_spec(rate=2e-3)])
    losses = {step: math.pi / step for step in range(10, 101, 10)}
    FakeWorker.next(store).begin().train(100, loss=losses.__getitem__).end()
    study = store.load("x")
    assert study.curve(1, "validation", "loss") == tuple(losses.items())
    assert study.curve(2, "validation", "loss") == ()
    assert store.load("x", with_curves=False).curves == {}


def test_best_step_is_the_earliest_among_ties_and_follows_the_direction(store: Store) -> None:
    plan = make_plan()
    open_study(store, [make_spec()], replace(plan, eval=replace(plan.eval, direction="maximize")))
    values = dict(zip(range(10, 101, 10), (1, 3, 2, 3, 1, 1, 1, 1, 1, 2), strict=True))
    record = FakeWorker.next(store).begin().train(100, loss=values.__getitem__).end().record()
    assert (record.best_step, record.best_value, record.last_value, record.num_evals) == (20, 3.0, 2.0, 10)
    assert record.first_good_step is not None
    assert (record.state, record.weights_digest, record.last_step) == ("ended", "w100", 100)


def test_values_that_are_not_finite_have_no_row(store: Store) -> None:
    open_study(store, [make_spec()])
    worker = FakeWorker.next(store).begin()
    rows = [Evaluation(10, "validation", "loss", math.nan), Evaluation(10, "train", "loss", math.inf)]
    rows.append(Evaluation(10, "train", "error", 0.5))
    store.record_evaluation(worker.lease, rows, eval_key="e", progress=Progress(to_step=10))
    assert store.evaluations(worker.trial) == (rows[2],)
    assert worker.record().best_step is None


def test_unknown_account_of_seconds_is_refused_and_leaves_nothing(store: Store) -> None:
    open_study(store, [make_spec()])
    worker = FakeWorker.next(store).begin()
    before = snapshot(store)
    with pytest.raises(ValueError, match="no such account of seconds: coffee"):
        store.record_evaluation(
            worker.lease,
            [Evaluation(10, "validation", "loss", 1.0)],
            eval_key="e",
            progress=Progress(to_step=10, seconds={"coffee": 1.0}),
        )
    assert snapshot(store) == before


def test_infeasible_and_crashed_are_kept_apart_and_stopped_has_no_digest(store: Store) -> None:
    open_study(store, [make_spec(rate=1e-3 * (1 + n)) for n in range(2)])
    one = FakeWorker.next(store).begin().train(20).end("infeasible", "diverged").record()
    two = FakeWorker.next(store).begin().train(20).end("stopped", "dominated").record()
    assert (one.outcome, one.weights_digest) == (Outcome("infeasible", "diverged"), "w20")
    assert (two.outcome, two.weights_digest) == (Outcome("stopped", "dominated"), None)


def test_paused_trials_go_on_to_the_raised_target(store: Store) -> None:
    lease = open_study(store, [make_spec(50), make_spec(50, rate=2e-3)], make_plan("budget_sweep", steps=50, fit=0.0))
    workers = [FakeWorker.next(store).begin().train(50, checkpoints=[50]) for _ in range(2)]
    for worker in workers:
        store.pause_trial(worker.lease, progress=worker.progress())
    assert store.claim("x", ME) is None
    store.apply(lease, RaiseTarget(phase="budget_sweep", trials=(workers[1].trial,), max_train_steps=100))
    again = FakeWorker.next(store).begin()
    assert (again.trial, again.step, again.spec.max_train_steps) == (workers[1].trial, 50, 100)
    phase = store.load("x").phase("budget_sweep")
    assert [trial.state for trial in phase.trials] == ["paused", "running"]
    assert phase.plan.max_train_steps == 100
    assert store.claim("x", ME) is None


def test_closing_a_sweep_cuts_every_trial_at_the_exact_stop(store: Store) -> None:
    plan = make_plan("budget_sweep", fit=0.0)
    lease = open_study(store, [make_spec(rate=1e-3 * (1 + number)) for number in range(4)], plan)
    fitted = FakeWorker.next(store).begin().train(40, checkpoints=[40]).end("complete", "fitted")
    later = FakeWorker.next(store).begin().train(70, checkpoints=[30, 70], keep=[30, 70]).end("complete", "fitted")
    beyond = FakeWorker.next(store).begin().train(60, checkpoints=[60]).end("stopped", "dominated")
    early = FakeWorker.next(store).begin().train(20).end("infeasible", "diverged")
    assert store.stop_step("x", "budget_sweep") == 40
    outcomes = {later.trial: Outcome("stopped", "dominated")}
    gone = store.apply(
        lease,
        ClosePhase(phase="budget_sweep", verdict="fits in 40 steps", reason="r", truncate_at=40, outcomes=outcomes),
    )
    assert [worker.record().last_step for worker in (fitted, later, beyond, early)] == [40, 40, 40, 20]
    assert [worker.record().outcome.reason for worker in (fitted, later, beyond, early)] == [
        "fitted", "dominated", "dominated", "diverged",
    ]  # fmt: skip
    assert later.steps() == beyond.steps() == [10, 20, 30, 40]
    assert (later.record().best_step, later.record().num_evals, later.record().weights_digest) == (40, 4, None)
    assert (later.kept("full"), beyond.kept("full"), fitted.kept("full")) == ([30], [], [40])
    assert len(gone) == 2
    assert not any(path.exists() for path in gone)
    phase = store.load("x").phase("budget_sweep")
    assert (phase.is_closed, phase.verdict, phase.reason) == (True, "fits in 40 steps", "r")
    assert execute(store, "SELECT stop_step FROM tuner_phases") == [(40,)]


def test_ended_trials_get_another_outcome_while_their_phase_is_open(store: Store) -> None:
    lease = open_study(store, [make_spec(rate=1e-3 * (1 + number)) for number in range(2)])
    one = FakeWorker.next(store).begin().train(20).end("complete")
    before = one.record()
    collapsed = Outcome("infeasible", "collapsed")
    decision = Decision(kind="collapsed", phase="round_1", reason="r")
    store.apply(lease, EndTrials(phase="round_1", outcomes={one.trial: collapsed}, decisions=(decision,)))
    assert one.record() == replace(before, outcome=collapsed)
    assert store.load("x").decisions[-1] == decision
    two = FakeWorker.next(store).begin().train(20)
    with pytest.raises(ValueError, match="is running; only an ended trial gets another outcome"):
        store.apply(lease, EndTrials(phase="round_1", outcomes={two.trial: collapsed}))


def test_stop_step_is_unknown_until_a_trial_fitted(store: Store) -> None:
    open_study(store, [make_spec()], make_plan("budget_sweep", fit=0.0))
    assert store.stop_step("x", "budget_sweep") is None


def test_conclusion_and_its_decisions_are_one_commit(store: Store) -> None:
    lease = open_study(store, [make_spec()])
    store.apply(lease, Conclude(answer=ANSWER, decisions=(Decision(kind="answer", reason="done"),)))
    assert store.study("x").answer == ANSWER
    study = store.load("x")
    assert (study.state, study.answer, study.decisions[-1].kind) == ("finished", ANSWER, "answer")


def test_study_without_an_answer_says_why(store: Store) -> None:
    lease = open_study(store, [make_spec()])
    store.apply(lease, GiveUp(reason="nothing fits; raise budget.max_steps"))
    assert (store.study("x").state, store.study("x").reason) == ("no_answer", "nothing fits; raise budget.max_steps")


@pytest.mark.parametrize(
    ("move", "message"),
    [
        (make_move([make_spec()], make_plan("round_2")), None),
        (replace(make_move([make_spec()], make_plan("round_2")), trials=(), num_points=6), "6 points to be filled in"),
        (AddTrials(phase="nowhere", trials=()), "not there"),
        (RaiseTarget(phase="round_1", trials=(1,), max_train_steps=200), "only a paused trial"),
        (ClosePhase(phase="round_1", verdict="", reason="", outcomes={99: Outcome("complete")}), "not of round_1"),
    ],
)
def test_move_that_does_not_fit_the_study_is_refused_whole(store: Store, move: object, message: str | None) -> None:
    lease = open_study(store, [make_spec()])
    if message is None:
        store.apply(lease, move)  # type: ignore[arg-type]
        return
    before = snapshot(store)
    with pytest.raises(ValueError, match=message):
        store.apply(lease, move)  # type: ignore[arg-type]
    assert snapshot(store) == before


def test_waiting_changes_nothing(store: Store) -> None:
    lease = open_study(store, [make_spec()])
    before = snapshot(store)
    assert store.apply(lease, Wait()) == []
    assert snapshot(store) == before


def test_added_trial_continues_the_numbers_and_is_claimed_last(store: Store) -> None:
    lease = open_study(store, [make_spec()])
    store.apply(lease, AddTrials(phase="round_1", trials=(TrialPlan(number=1, params={}, spec=make_spec(rate=1e-2)),)))
    assert [FakeWorker.next(store).claim.trial.number for _ in range(2)] == [0, 1]


def test_test_score_is_stored_once_however_often_it_is_told(store: Store) -> None:
    lease = open_study(store, [make_spec()])
    FakeWorker.next(store).begin().train(100).end()
    for value in (2.0, 1.5):
        store.record_test_value(lease, 1, [Evaluation(100, "test", "loss", value)])
    assert store.load("x").curve(1, "test", "loss") == ((100, 1.5),)


def test_state_and_config_are_stored(store: Store) -> None:
    lease = open_study(store, [make_spec()])
    store.set_state(lease, "interrupted", reason="Ctrl-C")
    store.update_config("x", '{"study":"x"}')
    row = store.study("x")
    assert (row.state, row.reason, row.config, row.folder) == ("interrupted", "Ctrl-C", '{"study":"x"}', "studies")
    assert row.created_at.startswith("20")
    assert row.created_at >= as_text(time.time() - 3600)


def test_missing_study_is_answered_with_what_there_is(store: Store) -> None:
    with pytest.raises(StudyError, match="nor any other yet"):
        store.load("quickstart")
    store.create_study("quickstart", config="{}", folder="", command="")
    with pytest.raises(StudyError, match=r"there is no study 'quikstart'; did you mean quickstart\?"):
        store.study("quikstart")
    with pytest.raises(StudyError, match="there are: quickstart"):
        store.claim("zzz", ELSEWHERE)


def test_name_of_a_study_is_taken_only_once(store: Store) -> None:
    store.create_study("x", config="{}", folder="", command="")
    with pytest.raises(StudyError, match="study 'x' exists already; `tuner resume x`"):
        store.create_study("x", config="{}", folder="", command="")
    assert store.study_names() == ["x"]
