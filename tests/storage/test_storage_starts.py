"""Where a run starts: resume, fork and extension are one mechanism (D2, D5, D7)."""

from __future__ import annotations

import pytest
from storage_cases import NUMERICS, FakeWorker, execute, make_move, make_plan, make_spec, open_study, recipe_keys

from tuner.errors import StudyError
from tuner.records import Fork, RaiseTarget
from tuner.storage.store import Store


def _fails(worker: FakeWorker) -> None:
    worker.store.fail_trial(worker.lease, "boom")


def test_first_attempt_starts_at_zero(store: Store) -> None:
    open_study(store, [make_spec()])
    worker = FakeWorker.next(store).begin()
    assert worker.start is not None
    assert (worker.start.from_step, worker.start.checkpoint, worker.start.forked_from) == (0, None, None)
    (segment,) = store.numerics(worker.trial)
    assert (segment.from_step, segment.segment, segment.numerics_key) == (0, NUMERICS, "n")


def test_resume_starts_at_the_newest_checkpoint_and_forgets_what_lies_beyond(store: Store) -> None:
    open_study(store, [make_spec()])
    first = FakeWorker.next(store).begin().train(60, checkpoints=[20, 40])
    assert (first.steps(), first.kept("full"), first.kept("weights")) == ([10, 20, 30, 40, 50, 60], [40], [40, 60])
    beyond = store.paths.resolve(store.checkpoints(first.trial)[-1].path)
    assert beyond.exists()
    _fails(first)

    again = FakeWorker.next(store).begin()
    assert again.step == 40
    assert again.steps() == [10, 20, 30, 40]
    assert not beyond.exists()
    record = again.record()
    assert (record.last_step, record.best_step, record.num_evals) == (40, 40, 4)
    assert record.forked_from is None
    best = store.best_checkpoint(again.trial)
    assert best is not None
    assert (best.global_step, best.kind) == (40, "weights")


def test_resumed_run_leaves_the_rows_of_an_uninterrupted_one(store: Store) -> None:
    open_study(store, [make_spec(), make_spec(rate=2e-3)])
    losses = {step: 5.0 + (step * 37 % 11) for step in range(101)}
    FakeWorker.next(store).begin().train(100, loss=losses.__getitem__, checkpoints=[20, 40, 60, 80, 100]).end()
    for until in (25, 55, 100):
        worker = FakeWorker.next(store).begin()
        worker.train(until, loss=losses.__getitem__, checkpoints=[20, 40, 60, 80, 100])
        if until < 100:
            _fails(worker)
    worker.end()
    one, other = store.load("x").trials()
    for name in (
        "last_step",
        "best_step",
        "best_value",
        "last_value",
        "first_good_step",
        "num_evals",
        "weights_digest",
    ):
        assert getattr(one, name) == getattr(other, name), name
    assert one.num_skipped_updates == other.num_skipped_updates == 2
    assert store.evaluations(one.trial) == store.evaluations(other.trial)
    assert other.steps_executed == 20 + (50 - 20) + (100 - 40)


def test_resume_keeps_the_best_weights_from_before(store: Store) -> None:
    open_study(store, [make_spec()])
    losses = {10: 3.0, 20: 1.0, 30: 2.0, 40: 2.0, 50: 0.5}
    worker = FakeWorker.next(store).begin().train(50, loss=losses.__getitem__, checkpoints=[40])
    assert worker.kept("weights") == [20, 50]
    _fails(worker)
    again = FakeWorker.next(store).begin()
    assert again.step == 40
    best = store.best_checkpoint(again.trial)
    assert best is not None
    assert best.global_step == 20


def _trunk_and_branch(store: Store, *, cadence: int = 10) -> FakeWorker:
    """A finished 100-step run with a decay of 20, and a 200-step run that shares its plateau, claimed."""
    trunk = make_spec(100, decay=20, fork_steps=(80,))
    lease = open_study(store, [trunk])
    donor = FakeWorker.next(store).begin()
    donor.train(100, checkpoints=[40, 80, 100], keep=[40, 80, 100]).end()
    branch = make_spec(200, decay=20, every=cadence)
    store.apply(lease, make_move([branch], make_plan("round_1.2", steps=200)))
    return FakeWorker.next(store)


def test_fork_starts_where_the_recipes_part_and_takes_the_curve_along(store: Store) -> None:
    branch = _trunk_and_branch(store).begin()
    assert branch.start is not None
    assert branch.start.checkpoint is not None
    assert branch.start.forked_from == Fork(trial=1, step=80)
    assert branch.start.checkpoint.trial == 1
    assert branch.steps() == [10, 20, 30, 40, 50, 60, 70, 80]
    assert execute(store, "SELECT DISTINCT measured_by_trial FROM tuner_evals WHERE trial_id = 2") == [(1,)]
    record = branch.record()
    assert (record.best_step, record.num_evals, record.last_step) == (80, 8, 80)
    best = store.best_checkpoint(branch.trial)
    assert best is not None
    assert (best.trial, best.global_step, best.kind) == (1, 80, "weights") or best.kind == "full"


def test_fork_at_a_longer_cadence_takes_only_its_own_steps(store: Store) -> None:
    branch = _trunk_and_branch(store, cadence=20).begin()
    assert branch.step == 80
    assert branch.steps() == [20, 40, 60, 80]


def test_without_sharing_nothing_of_others_is_used(store: Store) -> None:
    branch = _trunk_and_branch(store).begin(share=False)
    assert (branch.step, branch.steps(), branch.record().forked_from) == (0, [], None)


def test_fork_goes_no_deeper_than_its_donor_was_evaluated(store: Store) -> None:
    branch = _trunk_and_branch(store)
    execute(store, "DELETE FROM tuner_evals WHERE global_step = 70")
    assert branch.begin().step == 40
    assert branch.steps() == [10, 20, 30, 40]


def test_donor_evaluated_at_no_common_step_or_in_another_way_is_no_donor(store: Store) -> None:
    assert _trunk_and_branch(store, cadence=7).begin().step == 0


def test_donor_measured_under_another_eval_key_is_no_donor(store: Store) -> None:
    assert _trunk_and_branch(store).begin(eval_key="another batch size").step == 0


def test_donor_on_other_numerics_is_no_donor(store: Store) -> None:
    branch = _trunk_and_branch(store)
    branch.numerics_key = "cuda"
    assert branch.begin().step == 0


def test_donor_of_another_recipe_is_no_donor(store: Store) -> None:
    branch = _trunk_and_branch(store)
    branch.static, branch.key_at = "another seed", recipe_keys(branch.spec, "another seed")
    assert branch.begin().step == 0


def test_a_started_trial_whose_data_changed_is_refused_and_nothing_is_lost(store: Store) -> None:
    open_study(store, [make_spec()])
    store.release(FakeWorker.next(store).begin().train(40, checkpoints=[20]).lease)
    changed = FakeWorker.next(store, static="other data")
    with pytest.raises(StudyError, match="started with other data"):
        changed.begin()
    store.release(changed.lease)
    assert FakeWorker.next(store).begin().step == 20


def test_donor_that_mixed_its_numerics_is_no_donor(store: Store) -> None:
    branch = _trunk_and_branch(store)
    execute(store, "UPDATE tuner_numerics SET numerics_key = 'cuda'")
    assert branch.begin().step == 0


def test_missing_file_is_passed_over_for_a_shallower_checkpoint(store: Store) -> None:
    branch = _trunk_and_branch(store)
    (deepest,) = [f for f in store.checkpoints(1) if f.kind == "full" and f.global_step == 80]
    store.paths.resolve(deepest.path).unlink()
    assert branch.begin().step == 40


def test_own_checkpoint_beats_a_donor_at_equal_depth(store: Store) -> None:
    branch = _trunk_and_branch(store).begin(share=False)
    branch.train(80, checkpoints=[80])
    _fails(branch)
    again = FakeWorker.next(store).begin()
    assert again.start is not None
    assert again.start.checkpoint is not None
    assert again.start.checkpoint.trial == again.trial
    assert again.record().forked_from is None


def test_donors_at_equal_depth_are_taken_by_age(store: Store) -> None:
    lease = open_study(store, [make_spec(), make_spec(), make_spec()])
    for _ in range(2):
        FakeWorker.next(store).begin(share=False).train(50, checkpoints=[50])
    third = FakeWorker.next(store).begin()
    assert third.record().forked_from == Fork(trial=1, step=50)
    assert lease.epoch == 1


def test_fork_that_resumes_from_its_own_checkpoint_stays_a_fork(store: Store) -> None:
    branch = _trunk_and_branch(store).begin().train(120, checkpoints=[110])
    _fails(branch)
    again = FakeWorker.next(store).begin()
    assert again.step == 110
    assert again.start is not None
    assert again.start.forked_from == Fork(1, 80)
    assert again.steps() == list(range(10, 111, 10))


def test_fork_without_its_own_checkpoint_forks_again_and_leaves_equal_rows(store: Store) -> None:
    branch = _trunk_and_branch(store).begin().train(100)
    _fails(branch)
    again = FakeWorker.next(store).begin()
    assert (again.step, again.record().forked_from) == (80, Fork(1, 80))
    assert again.steps() == [10, 20, 30, 40, 50, 60, 70, 80]


def test_fork_of_a_fork_finds_the_best_weights_that_both_share(store: Store) -> None:
    lease = open_study(store, [make_spec(100, decay=20)])
    losses = {step: 1.0 if step == 30 else 5.0 for step in range(0, 500, 10)}
    donor = FakeWorker.next(store).begin()
    donor.train(100, loss=losses.__getitem__, checkpoints=[80, 100], keep=[80, 100]).end()
    for name, steps in (("round_1.2", 200), ("round_1.3", 400)):
        store.apply(lease, make_move([make_spec(steps, decay=20)], make_plan(name, steps=steps)))
        worker = FakeWorker.next(store).begin()
        until = steps - 20
        worker.train(until, loss=losses.__getitem__, checkpoints=[until], keep=[until]).end()
        best = store.best_checkpoint(worker.trial)
        assert best is not None
        assert (best.trial, best.global_step) == (donor.trial, 30)
    assert worker.record().forked_from == Fork(2, 180)
    assert execute(store, "SELECT DISTINCT measured_by_trial FROM tuner_evals WHERE trial_id = 3") != [(3,)]


def test_pinned_checkpoint_survives_its_own_trial_s_retention(store: Store) -> None:
    open_study(store, [make_spec(), make_spec()])
    donor = FakeWorker.next(store).begin().train(50, checkpoints=[50])
    fork = FakeWorker.next(store).begin()
    assert fork.step == 50
    donor.train(100, checkpoints=[60, 70, 80])
    assert donor.kept("full") == [50, 80]
    assert donor.kept("weights") == [50, 80, 100]


def test_pinned_checkpoint_survives_its_own_trial_s_return_to_an_earlier_step(store: Store) -> None:
    open_study(store, [make_spec(), make_spec()])
    donor = FakeWorker.next(store).begin().train(50, checkpoints=[20, 50], keep=[20])
    fork = FakeWorker.next(store).begin()
    assert fork.start is not None
    assert fork.start.checkpoint is not None
    store.paths.resolve(fork.start.checkpoint.path).unlink()
    _fails(donor)
    assert FakeWorker.next(store).begin().step == 20
    assert donor.kept("full") == [20, 50]


def test_sweep_run_starts_at_no_step_after_its_donor_fitted(store: Store) -> None:
    lease = open_study(store, [make_spec(100)])
    losses = {step: 3.0 - step / 50 for step in range(101)}
    FakeWorker.next(store).begin().train(100, loss=losses.__getitem__, checkpoints=[40, 100], keep=[40, 100]).end()
    store.apply(lease, make_move([make_spec(100)], make_plan("budget_sweep", fit=2.0)))
    assert FakeWorker.next(store).begin().step == 40


def test_other_numerics_are_refused_once_a_trial_has_started_unless_accepted(store: Store) -> None:
    open_study(store, [make_spec()])
    _fails(FakeWorker.next(store).begin().train(30, checkpoints=[20]))
    worker = FakeWorker.next(store, numerics_key="cuda")
    with pytest.raises(StudyError, match=r"trial 1 was started on other numerics: .* --allow-other-numerics"):
        worker.begin()
    worker.begin(other_numerics=True)
    assert worker.step == 20
    assert [(s.from_step, s.numerics_key) for s in store.numerics(1)] == [(0, "n"), (20, "cuda")]
    assert store.load("x").sharing == "statistical", "told with every answer from now on"


def test_trial_with_mixed_numerics_returns_to_its_exact_past_where_it_has_one(store: Store) -> None:
    open_study(store, [make_spec()])
    _fails(FakeWorker.next(store).begin().train(30, checkpoints=[20]))
    mixed = FakeWorker.next(store, numerics_key="cuda").begin(other_numerics=True)
    mixed.train(50, checkpoints=[40], keep=[20])
    _fails(mixed)
    back = FakeWorker.next(store).begin()
    assert back.step == 20
    assert [(s.from_step, s.numerics_key) for s in store.numerics(1)] == [(0, "n")]
    assert back.steps() == [10, 20]


def test_raised_target_drops_the_odd_last_step_of_the_shorter_one(store: Store) -> None:
    lease = open_study(store, [make_spec(25)], make_plan("budget_sweep", steps=25, fit=0.0))
    worker = FakeWorker.next(store).begin().train(25, checkpoints=[25])
    assert worker.steps() == [10, 20, 25]
    store.pause_trial(worker.lease, progress=worker.progress())
    store.apply(lease, RaiseTarget(phase="budget_sweep", trials=(worker.trial,), max_train_steps=50))
    again = FakeWorker.next(store).begin()
    assert (again.step, again.steps()) == (25, [10, 20])


def test_fork_across_studies_is_pinned_and_named(store: Store) -> None:
    open_study(store, [make_spec()])
    FakeWorker.next(store).begin().train(100, checkpoints=[100]).end()
    open_study(store, [make_spec()], name="y")
    worker = FakeWorker.next(store, name="y").begin()
    assert (worker.step, worker.record().forked_from) == (100, Fork(1, 100))
    assert execute(store, "SELECT count(*) FROM tuner_pins WHERE trial_id = 2")[0][0] == 2


def test_attempt_rows_tell_what_each_worker_spent(store: Store) -> None:
    open_study(store, [make_spec()])
    _fails(FakeWorker.next(store).begin().train(30, checkpoints=[20]))
    FakeWorker.next(store).begin().train(100, checkpoints=[100]).end()
    rows = execute(
        store, "SELECT lease_epoch, from_step, to_step, seconds_train, how_ended FROM tuner_attempts ORDER BY 1"
    )
    assert rows == [(1, 0, 30, 30.0, "failed"), (2, 20, 100, 100.0, "ended")]


def test_a_study_is_exact_only_where_all_its_trials_ran_deterministically(store: Store) -> None:
    open_study(store, [make_spec()])
    FakeWorker.next(store).begin()
    assert store.load("x").sharing == "exact"
    execute(store, """UPDATE tuner_numerics SET segment = '{"deterministic_algorithms" : false}'""")
    assert store.load("x").sharing == "statistical"
