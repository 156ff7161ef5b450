"""Every invariant is seen broken: verify names it, repair mends it where it can, and a second verify is clean."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from storage_cases import DEAD, ELSEWHERE, ME, FakeWorker, execute, make_plan, make_spec, open_study, snapshot

from tuner.errors import StudyError
from tuner.records import ClosePhase, Decision, OpenPhase, TrialPlan
from tuner.storage.findings import Check
from tuner.storage.repairs import repair
from tuner.storage.store import Store
from tuner.storage.verify import inspect, verify

TRUNK, BRANCH, WAITING = 1, 2, 3
FILES = [20, 40, 60, 80, 100]


@pytest.fixture(scope="session")
def sound_home(tmp_path_factory: pytest.TempPathFactory, empty_database: Path) -> Path:
    """The sound study in a home of its own, to be copied."""
    home = tmp_path_factory.mktemp("sound") / "runs"
    home.mkdir()
    shutil.copy(empty_database, home / "tuner.db")
    store = Store.open(None, home)
    make_sound_study(store)
    store.close()
    return home


@pytest.fixture
def sound(store: Store, storage_url: str | None, sound_home: Path) -> None:
    """The sound study in the store: copied, or made where there is a server."""
    if storage_url is None:
        store.close()
        shutil.copytree(sound_home, store.paths.home, dirs_exist_ok=True)
    else:
        make_sound_study(store)


def make_sound_study(store: Store) -> None:
    """A study with a complete trial, a complete fork of it, and one that was interrupted at step 50, planner gone."""
    lease = open_study(store, [make_spec(100), make_spec(120), make_spec(100, rate=2e-3)], make_plan(steps=120))
    FakeWorker.next(store).begin().train(100, checkpoints=FILES, keep=[80, 100]).end()
    fork = FakeWorker.next(store).begin().train(120, checkpoints=[120])
    fork.end()
    assert fork.start is not None
    assert fork.start.from_step == 100
    store.release(FakeWorker.next(store).begin().train(50, checkpoints=[20, 40]).lease)
    store.release(lease)


def found(store: Store, name: str) -> Check:
    """The check of that name, of the study as it stands."""
    return next(check for check in verify(store, inspect(store, "x")) if check.name == name)


def problems(store: Store) -> list[str]:
    return [
        f"{check.name}: {finding.subject} {finding.problem}"
        for check in verify(store, inspect(store, "x"))
        for finding in check.findings
    ]


def mend(store: Store) -> list[str]:
    checks = verify(store, inspect(store, "x"))
    wanted = [finding for check in checks for finding in (*check.findings, *check.mendable) if finding.mend]
    return repair(store, "x", wanted)


@pytest.mark.usefixtures("sound")
def test_a_sound_study_is_clean_and_verifying_changes_nothing(store: Store) -> None:
    before = snapshot(store)
    assert problems(store) == []
    counts = {check.name: (check.num_ok, check.num_checked) for check in verify(store, inspect(store, "x"))}
    assert counts["trials"] == counts["curves"] == (3, 3)
    assert counts["pins"] == (1, 1)
    assert mend(store) == []
    assert snapshot(store) == before


@dataclass(frozen=True)
class Damage:
    """What breaks a stored study, and what verify must say of it."""

    sql: str
    check: str
    told: str


MENDABLE = {
    "a best value": Damage("UPDATE tuner_trials SET best_value = 0.5 WHERE id = 1", "trials", "best_value is 0.5"),
    "a best step": Damage("UPDATE tuner_trials SET best_step = 10 WHERE id = 1", "trials", "best_step is 10"),
    "a last value": Damage("UPDATE tuner_trials SET last_value = NULL WHERE id = 2", "trials", "last_value is None"),
    "a number of evaluations": Damage("UPDATE tuner_trials SET num_evals = 7 WHERE id = 2", "trials", "num_evals is 7"),
    "a first good step": Damage(
        "UPDATE tuner_trials SET first_good_step = 1 WHERE id = 1", "trials", "first_good_step is 1"
    ),
    "a last step": Damage("UPDATE tuner_trials SET last_step = 49 WHERE id = 3", "trials", "last_step is 49"),
    "steps executed": Damage(
        "UPDATE tuner_trials SET steps_executed = 1 WHERE id = 1", "trials", "steps_executed is 1"
    ),
    "a number of attempts": Damage("UPDATE tuner_trials SET num_attempts = 9 WHERE id = 1", "trials", "is 9"),
    "a target": Damage(
        "UPDATE tuner_trials SET max_train_steps = 200 WHERE id = 3", "trials", "max_train_steps is 200"
    ),
    "a row off the cadence": Damage(
        "INSERT INTO tuner_evals VALUES (1, 15, 'validation', 'loss', 1.0, 'e', 1)", "curves", "has rows at step 15"
    ),
    "a row beyond the last step": Damage(
        "INSERT INTO tuner_evals VALUES (3, 60, 'validation', 'loss', 1.0, 'e', 3)", "curves", "has rows at step 60"
    ),
    "a fork's rows": Damage(
        "DELETE FROM tuner_evals WHERE trial_id = 2 AND global_step = 30", "curves", "is missing at step 30"
    ),
    "one metric of a fork's rows": Damage(
        "DELETE FROM tuner_evals WHERE trial_id = 2 AND global_step = 30 AND split = 'train'",
        "curves",
        "loss on train is missing at step 30",
    ),
    "a row before an unfinished trial's checkpoint": Damage(
        "DELETE FROM tuner_evals WHERE trial_id = 3 AND global_step = 30", "curves", "is missing at step 30"
    ),
    "a pin": Damage("DELETE FROM tuner_pins", "pins", "does not pin what it forked from, 1@100"),
    "a stray pin": Damage(
        "INSERT INTO tuner_pins SELECT checkpoint_id, 3 FROM tuner_pins", "pins", "is no fork, but pins"
    ),
    "a lease of an ended trial": Damage(
        "UPDATE tuner_trials SET lease_owner = '{}', lease_expires = 0 WHERE id = 1", "leases", "is ended, but leased"
    ),
    "a running trial that nobody holds": Damage(
        "UPDATE tuner_trials SET state = 'running' WHERE id = 3", "leases", "is running, but leased to nobody"
    ),
    "an epoch that fell": Damage(
        "UPDATE tuner_trials SET lease_epoch = 0 WHERE id = 1", "leases", "epoch 1, after its"
    ),
    "an attempt left open": Damage(
        "UPDATE tuner_attempts SET how_ended = NULL WHERE trial_id = 1", "leases", "epoch 1 never ended"
    ),
    "a recipe key": Damage(
        "UPDATE tuner_checkpoints SET recipe_key = 'another' WHERE trial_id = 3 AND kind = 'full'",
        "checkpoints",
        "has the recipe key of other learning rates",
    ),
    "a checkpoint's kind": Damage(
        "UPDATE tuner_checkpoints SET kind = 'weights' WHERE trial_id = 3 AND kind = 'full'",
        "checkpoints",
        "is no place for the weights checkpoint",
    ),
    "a checkpoint's recipe": Damage(
        "UPDATE tuner_checkpoints SET static_digest = 'ab' WHERE trial_id = 3 AND kind = 'full'",
        "checkpoints",
        "is of another recipe than trial 3",
    ),
}


@pytest.mark.slow
@pytest.mark.usefixtures("sound")
@pytest.mark.parametrize("damage", MENDABLE.values(), ids=MENDABLE)
def test_damage_is_named_mended_and_gone(store: Store, damage: Damage) -> None:
    execute(store, damage.sql)
    told = problems(store)
    assert any(line.startswith(f"{damage.check}:") and damage.told in line for line in told), told
    assert not found(store, damage.check).is_clean
    assert mend(store)
    assert problems(store) == []


FATAL = {
    "an outcome": Damage("UPDATE tuner_trials SET outcome = NULL WHERE id = 1", "trials", "is ended with outcome None"),
    "a closed phase with a waiting trial": Damage(
        "UPDATE tuner_phases SET is_closed = TRUE", "phases", "closed with trials that have not ended: 1 waiting"
    ),
    "a finished study with an open phase": Damage(
        "UPDATE tuner_studies SET state = 'finished'", "phases", "is open, but the study is finished"
    ),
    "a trial that is gone": Damage(
        "UPDATE tuner_trials SET number = 7 WHERE id = 3", "phases", "has gaps in the numbers of its trials"
    ),
    "a row of an ended trial": Damage(
        "DELETE FROM tuner_evals WHERE trial_id = 1 AND global_step = 30", "curves", "is missing at step 30"
    ),
    "a shared value": Damage(
        "UPDATE tuner_evals SET value = 3 WHERE trial_id = 2 AND global_step = 30", "curves", "differ from those of who"
    ),
    "who measured": Damage(
        "UPDATE tuner_evals SET measured_by_trial = 9 WHERE trial_id = 1 AND global_step = 30", "curves", "is no fork"
    ),
    "a decision that is gone": Damage(
        "INSERT INTO tuner_decisions (id, study_id, ordinal, kind, reason, numbers, created_at) "
        "VALUES (9, 1, 3, 'k', 'r', '{}', 't')",
        "decisions",
        "number 0 is missing",
    ),
    "weights that are not the trial's": Damage(
        "UPDATE tuner_trials SET weights_digest = 'other' WHERE id = 1", "trials", "not that of its last checkpoint"
    ),
    "steps that nobody executed": Damage(
        "UPDATE tuner_attempts SET from_step = 90 WHERE trial_id = 1", "bill", "fewer than the"
    ),
}


@pytest.mark.slow
@pytest.mark.usefixtures("sound")
@pytest.mark.parametrize("damage", FATAL.values(), ids=FATAL)
def test_what_cannot_be_mended_is_named_with_a_remedy_and_left_alone(store: Store, damage: Damage) -> None:
    execute(store, damage.sql)
    check = found(store, damage.check)
    assert any(damage.told in f"{finding.subject} {finding.problem}" for finding in check.findings), check
    assert all(finding.remedy for finding in check.findings if finding.mend is None)
    mend(store)
    assert not found(store, damage.check).is_clean


def _flip(data: bytes) -> bytes:
    return bytes([data[0] ^ 1]) + data[1:]


@pytest.mark.parametrize(
    ("harm", "told"),
    [(_flip, "was altered"), (lambda data: data[:-1], "has 6 bytes, not 7"), (lambda data: b"\0" * 7, "was altered")],
)
@pytest.mark.usefixtures("sound")
def test_a_damaged_checkpoint_is_set_aside_and_the_trial_goes_on_from_before(
    store: Store, harm: Callable[[bytes], bytes], told: str
) -> None:
    newest = store.checkpoints(WAITING)[-1]
    path = store.paths.resolve(newest.path)
    whole = path.read_bytes()
    path.write_bytes(harm(whole))
    (line,) = problems(store)
    assert newest.path in line
    assert told in line
    (done,) = mend(store)
    assert f"set {newest.path} aside" in done
    assert not path.exists()
    assert path.with_name(f"{path.name}.damaged").read_bytes() == harm(whole)
    assert problems(store) == []
    assert FakeWorker.next(store).begin().step < newest.global_step


@pytest.mark.usefixtures("sound")
def test_a_row_whose_file_is_gone_is_dropped_also_if_a_fork_pinned_it(store: Store) -> None:
    (pinned,) = [file for file in store.checkpoints(TRUNK) if file.kind == "full" and file.global_step == 100]
    store.paths.resolve(pinned.path).unlink()
    assert any("is missing" in line for line in problems(store))
    mend(store)
    assert pinned.id not in {file.id for file in store.checkpoints(TRUNK)}
    assert found(store, "pins").notes == ("trial 2 forked from 1@100, which is no longer kept",)
    assert problems(store) == []


@pytest.mark.usefixtures("sound")
def test_best_weights_that_are_lost_stay_named_for_nothing_makes_them_up(store: Store) -> None:
    for file in store.checkpoints(BRANCH):
        store.paths.resolve(file.path).unlink()
    mend(store)
    (line,) = problems(store)
    assert "the weights of its best step, 120, are not there" in line


@pytest.mark.usefixtures("sound")
def test_files_that_no_row_names_are_counted_and_no_error(store: Store) -> None:
    folder = store.paths.resolve(store.checkpoints(TRUNK)[0].path).parent
    (folder / ".half.tmp").write_bytes(b"123")
    check = found(store, "files")
    assert check.is_clean
    assert check.notes == ("1 without a row, 3 bytes; `tuner gc x` removes them",)


def test_leases_of_dead_owners_are_named_and_freed(store: Store) -> None:
    lease = open_study(store, [make_spec()])
    FakeWorker.next(store, owner=DEAD).begin().train(20)
    store.release(lease)
    check = found(store, "leases")
    assert check.is_clean
    assert "trial 1 is leased to dead" in check.notes[0]
    assert "which is dead" in check.notes[0]
    assert mend(store) == ["trial 1: freed its lease; it is waiting"]
    assert found(store, "leases").notes == ()
    assert problems(store) == []
    assert FakeWorker.next(store).begin().step == 0


def test_a_running_study_verifies_and_is_not_repaired(store: Store) -> None:
    open_study(store, [make_spec()])
    FakeWorker.next(store).begin().train(20, checkpoints=[20])
    assert problems(store) == []
    execute(store, "UPDATE tuner_trials SET best_value = 0.5")
    with pytest.raises(StudyError, match=r"is being run by pid .* stop it"):
        mend(store)
    assert problems(store) != []


def test_a_worker_that_may_be_alive_elsewhere_forbids_repair(store: Store) -> None:
    lease = open_study(store, [make_spec()])
    FakeWorker.next(store, owner=ELSEWHERE).begin().train(20)
    store.release(lease)
    execute(store, "UPDATE tuner_trials SET best_value = 0.5")
    with pytest.raises(StudyError, match=r"leased to elsewhere .* may be alive"):
        mend(store)


@pytest.mark.usefixtures("sound")
def test_a_perplexity_that_overflowed_is_no_missing_row(store: Store) -> None:
    execute(store, "UPDATE tuner_evals SET value = 800 WHERE trial_id = 3 AND global_step = 10")
    copied = "SELECT trial_id, global_step, split, 'perplexity', 9.0, eval_key, measured_by_trial FROM tuner_evals"
    execute(store, f"INSERT INTO tuner_evals {copied} WHERE trial_id = 3 AND value < 700")
    assert problems(store) == []
    execute(store, "UPDATE tuner_evals SET value = 8 WHERE trial_id = 3 AND global_step = 10 AND metric = 'loss'")
    assert any("perplexity on validation is missing at step 10" in line for line in problems(store))


def test_an_exact_stop_is_no_damage(store: Store) -> None:
    lease = open_study(store, [make_spec(), make_spec(rate=2e-3)], make_plan(fit=0.5))
    FakeWorker.next(store).begin().train(40, checkpoints=[40]).end(reason="fitted")
    worker = FakeWorker.next(store).begin().train(60, checkpoints=[40])
    worker.end("stopped", "dominated")
    store.apply(lease, ClosePhase(phase="round_1", verdict="v", reason="r", truncate_at=40))
    assert problems(store) == []
    assert found(store, "trials").num_checked == 2


def test_a_fork_across_studies_is_compared_with_who_measured_it(store: Store) -> None:
    first = open_study(store, [make_spec()], name="first")
    FakeWorker.next(store, name="first").begin().train(100, checkpoints=[100]).end()
    store.release(first)
    second = open_study(store, [make_spec(120)])
    FakeWorker.next(store).begin().train(120, checkpoints=[120]).end()
    store.release(second)
    assert problems(store) == []
    execute(store, "UPDATE tuner_evals SET value = 3 WHERE trial_id = 2 AND global_step = 30")
    assert any("differ from those of who measured them" in line for line in problems(store))


def test_decisions_of_a_phase_that_exists_are_clean(store: Store) -> None:
    lease = open_study(store, [make_spec()])
    plan = OpenPhase(
        plan=make_plan("round_2"),
        trials=(TrialPlan(number=0, params={}, spec=make_spec()),),
        decisions=(Decision(kind="k", reason="r", phase="round_2"), Decision(kind="k", reason="r", phase="round_1")),
    )
    store.apply(lease, plan)
    assert problems(store) == []
    execute(store, "UPDATE tuner_decisions SET phase = 'round_7' WHERE ordinal = 1")
    assert any("phase 'round_7', which does not exist" in line for line in problems(store))


def test_a_file_deleted_by_a_worker_after_its_row_was_read_is_not_missing(store: Store) -> None:
    lease = open_study(store, [make_spec()], owner=ME)
    worker = FakeWorker.next(store).begin().train(20, checkpoints=[20])
    seen = inspect(store, "x")
    worker.train(40, checkpoints=[40])
    assert not store.paths.resolve(next(f.path for f in seen.checkpoints if f.kind == "full")).exists()
    assert all(check.is_clean for check in verify(store, seen))
    store.release(lease)
