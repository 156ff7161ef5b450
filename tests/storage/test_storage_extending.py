"""An extension in the database: config and decisions at once, and only what giving up had closed is open again."""

from __future__ import annotations

from dataclasses import replace

import pytest
from storage_cases import FakeWorker, make_plan, make_spec, open_study

from tuner.errors import LeaseLost
from tuner.protocol.extension import extended
from tuner.records import ClosePhase, Decision, GiveUp, OpenPhase, Outcome, TrialPlan
from tuner.storage.extending import extend
from tuner.storage.store import Store

DECISION = Decision(kind="extended", reason="more was asked for", numbers={"changes": [], "points": []})


def test_what_giving_up_closed_waits_again_and_what_the_protocol_closed_stays_closed(store: Store) -> None:
    lease = open_study(store, [make_spec()])
    FakeWorker.next(store).begin().train(100).end()
    store.apply(lease, ClosePhase(phase="round_1", verdict="adequate", reason="it is"))
    specs = [make_spec(rate=rate) for rate in (2e-3, 3e-3, 4e-3)]
    trials = tuple(TrialPlan(number=number, params={}, spec=spec) for number, spec in enumerate(specs))
    store.apply(lease, OpenPhase(plan=replace(make_plan("budget_sweep"), kind="budget_sweep"), trials=trials))
    ended = FakeWorker.next(store).begin().train(100).end("infeasible", "diverged")
    paused = FakeWorker.next(store).begin().train(100)
    store.pause_trial(paused.lease, progress=paused.progress())
    before = store.load("x")
    store.apply(lease, GiveUp(reason="nothing fits"))
    given_up = store.load("x")
    extend(store, lease, config='{"study":"x","more":true}', decisions=[DECISION])
    after = store.load("x")
    assert store.study("x").config == '{"study":"x","more":true}'
    assert (after.state, after.reason, after.decisions[-1]) == ("running", None, DECISION)
    assert [phase.is_closed for phase in after.phases] == [True, False]
    assert [trial.state for trial in after.phases[1].trials] == ["ended", "paused", "waiting"]
    assert after.phases[1].trials[0].outcome == ended.record().outcome == Outcome("infeasible", "diverged")
    assert [t.spec for t in after.trials()] == [t.spec for t in before.trials()]
    # What `tuner extend` looks at before it commits is what is there afterwards.
    assert extended(given_up, [DECISION]).phases == after.phases


def test_a_round_that_an_extension_adds_shares_with_those_that_stand(store: Store) -> None:
    lease = open_study(store, [make_spec(decay=20)])
    FakeWorker.next(store).begin().train(100, checkpoints=(81,), keep=(81,)).end()
    store.apply(lease, ClosePhase(phase="round_1", verdict="adequate", reason="it is"))
    extend(store, lease, config="{}", decisions=[DECISION])
    longer = TrialPlan(number=0, params={}, spec=make_spec(200, decay=20))
    store.apply(lease, OpenPhase(plan=make_plan("round_2", steps=200), trials=(longer,)))
    FakeWorker.next(store).begin().train(200).end()
    bill = store.bill("x")
    assert (bill["requested"], bill["executed"], bill["shared"], bill["recomputed"]) == (300, 100 + 119, 81, 0)


def test_an_extension_of_another_planner_is_refused_whole(store: Store) -> None:
    lease = open_study(store, [make_spec()])
    before = store.study("x")
    with pytest.raises(LeaseLost):
        extend(store, replace(lease, epoch=lease.epoch - 1), config="{}", decisions=[DECISION])
    assert store.study("x") == before
    assert store.load("x").decisions == ()
