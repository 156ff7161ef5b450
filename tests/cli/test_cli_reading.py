"""The commands that read, on a real database: their JSON is a contract."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from sample_studies import empty_study, make_config, no_answer_study, quickstart_study, unfinished_study
from stored_studies import keep_study

from tuner.cli.main import run_command_line
from tuner.storage.store import Owner, Store

ANSWER_KEYS = ["max_train_steps", "verdict", "best_trial", "best_step", "best_value", "metric", "params", "sharing"]
ANSWER_KEYS += ["weights", "averaged"]
PHASE_KEYS = ["name", "max_train_steps", "num_trials", "outcomes", "verdict", "reason"]
STEP_KEYS = ["requested", "executed", "shared", "recomputed", "overshoot", "stage_tree"]
TRIAL_KEYS = [
    *("trial", "phase", "number", "params", "outcome", "reason", "max_train_steps", "last_step", "best_step"),
    *("first_good_step", "best_value", "last_value", "num_evals", "num_skipped_updates", "forked_from"),
    *("steps_executed", "weights_digest"),
]


def ask(capsys: pytest.CaptureFixture[str], *arguments: str, exit_code: int = 0) -> str:
    """Stdout of a command that must end with the exit code."""
    capsys.readouterr()
    assert run_command_line(arguments) == exit_code
    return capsys.readouterr().out


def ask_json(capsys: pytest.CaptureFixture[str], *arguments: str, exit_code: int = 0) -> object:
    return json.loads(ask(capsys, *arguments, "--json", exit_code=exit_code))


def test_status_json_has_the_documented_keys_in_order(stored_home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    status = ask_json(capsys, "status", "quickstart", "--home", str(stored_home))
    assert list(status) == ["study", "state", "answer", "phases", "steps", "seconds"]
    assert (status["study"], status["state"]) == ("quickstart", "finished")
    assert list(status["answer"]) == ANSWER_KEYS
    assert [list(phase) for phase in status["phases"]] == [PHASE_KEYS] * 4
    assert list(status["steps"]) == STEP_KEYS
    assert list(status["seconds"]) == ["train", "eval", "checkpoint", "setup", "idle"]
    assert status["phases"][0]["outcomes"] == {"complete": 1, "infeasible": 1, "stopped": 3}
    assert status["seconds"]["train"] == pytest.approx(1.5 * sum(p["num_trials"] for p in status["phases"]))
    assert all(type(count) is int for count in status["steps"].values())


def test_trials_json_has_the_documented_keys_in_order(stored_home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    trials = ask_json(capsys, "trials", "quickstart", "--home", str(stored_home))
    made = quickstart_study().trials()
    assert [list(trial) for trial in trials] == [TRIAL_KEYS] * len(made)
    assert [trial["best_value"] for trial in trials] == [trial.best_value for trial in made]
    stopped = next(trial for trial in trials if trial["outcome"] == "stopped")
    assert (stopped["reason"], stopped["weights_digest"], stopped["forked_from"]) == ("dominated", None, None)


def test_answer_json_is_the_stored_answer_with_its_reasons(
    stored_home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    study = quickstart_study()
    assert study.answer is not None
    answer = ask_json(capsys, "answer", "quickstart", "--home", str(stored_home))
    assert list(answer) == ["study", "state", "answer", "best_so_far", "why", "caveats", "isolation"]
    assert list(answer["answer"]) == [*ANSWER_KEYS, "test_value"]
    assert answer["answer"]["best_value"] == study.answer.best_value
    assert answer["best_so_far"] is None
    assert any("too short" in reason for reason in answer["why"])


def test_answer_shows_epochs_beside_updates(stored_home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = ask(capsys, "answer", "quickstart", "--home", str(stored_home))
    assert "1,680 updates (53.8 epochs)" in text


def test_best_steps_json_counts_what_the_verdict_counted(stored_home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = ask_json(capsys, "best-steps", "quickstart", "--home", str(stored_home))
    assert [phase["phase"] for phase in found["phases"]] == ["round_1", "round_1.2", "round_2"]
    for phase in found["phases"]:
        late = [t for t in phase["trials"] if 4 * t["best_step"] >= 3 * phase["max_train_steps"]]
        assert phase["counts"]["all"]["best_in_last_25_percent"]["count"] == len(late)
        assert (
            phase["counts"]["all"]["best_in_last_25_percent"]["total"] == phase["num_feasible"] == len(phase["trials"])
        )


def test_best_steps_draws_both_bands_and_every_phase(stored_home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = ask(capsys, "best-steps", "quickstart", "--home", str(stored_home))
    assert text.count("first 10 %   ") >= 3
    assert text.count("last 25 %\n") == 3
    assert "round_1.2: 1,680 updates" in text
    assert "█" in text


def test_status_without_a_name_lists_all_studies(stored_home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = ask(capsys, "status", "--home", str(stored_home))
    assert "quickstart" in text
    assert "finished" in text
    listed = ask_json(capsys, "status", "--home", str(stored_home))
    assert [list(row) for row in listed] == [["study", "state", "created_at"]]


def test_tables_are_readable_when_piped(stored_home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lines = ask(capsys, "trials", "quickstart", "--home", str(stored_home)).splitlines()
    assert len([line for line in lines if "round_2" in line]) == 4
    assert not any("\x1b" in line for line in lines)


def test_report_command_writes_the_page_and_prints_its_path(
    stored_home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "page"
    text = ask(capsys, "report", "quickstart", "--home", str(stored_home), "--out", str(out))
    assert Path(text.strip()) == out / "report.html"
    assert json.loads((out / "answer.json").read_text())["answer"]["best_trial"] == quickstart_study().answer.best_trial
    assert "tuner run quickstart.yaml" in (out / "report.html").read_text()


def test_report_goes_to_a_folder_named_by_the_study(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    keep_study(tmp_path / "runs", empty_study("small"), make_config("small"))
    ask(capsys, "report", "small")
    assert (tmp_path / "reports" / "small" / "report.html").is_file()


def test_study_name_that_is_a_path_stays_inside_the_reports_folder() -> None:
    from tuner.cli.report import default_folder

    folder = default_folder("../../etc/x")
    assert folder.parts[0] == "reports"
    assert ".." not in folder.parts
    assert len(folder.parts) == 2


def test_a_study_named_like_the_folder_of_another_has_a_report_of_its_own() -> None:
    from tuner.cli.report import default_folder

    other = default_folder("my/study")
    assert default_folder(other.name) != other


def test_study_without_an_answer_exits_3_with_its_reason(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    keep_study(tmp_path, no_answer_study(), make_config("nothing fits"))
    assert run_command_line(["answer", "nothing fits", "--home", str(tmp_path)]) == 3
    captured = capsys.readouterr()
    assert "raise perfect_fit.at_most" in captured.err
    assert len(captured.err.splitlines()) == 1
    status = ask_json(capsys, "status", "nothing fits", "--home", str(tmp_path))
    assert (status["state"], status["answer"]) == ("no_answer", None)


def test_study_whose_planner_died_shows_as_interrupted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    keep_study(tmp_path, unfinished_study(), make_config("half way"))
    status = ask_json(capsys, "status", "half way", "--home", str(tmp_path))
    assert status["state"] == "interrupted"
    answer = ask_json(capsys, "answer", "half way", "--home", str(tmp_path))
    assert answer["answer"] is None
    assert list(answer["best_so_far"]) == ANSWER_KEYS
    assert answer["best_so_far"]["verdict"] == "not judged yet"


def test_study_shows_as_running_only_while_its_planner_lives(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    keep_study(tmp_path, empty_study(), make_config("just begun"))
    store = Store.open(None, tmp_path)
    lease = store.acquire_planner("just begun", Owner.of_this_process("planner"))
    store.set_state(lease, "running")
    assert ask_json(capsys, "status", "just begun", "--home", str(tmp_path))["state"] == "running"
    store.release(lease)
    store.close()
    assert ask_json(capsys, "status", "just begun", "--home", str(tmp_path))["state"] == "interrupted"


def test_a_trial_shows_as_running_only_while_its_worker_lives(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    keep_study(tmp_path, unfinished_study(), make_config("half way"))
    store, me = Store.open(None, tmp_path), Owner.of_this_process("worker 0")
    living = store.claim("half way", me)
    killed = store.claim("half way", replace(me, process_started="0"))
    assert living is not None
    assert killed is not None
    assert living.trial != killed.trial
    store.close()
    text = ask(capsys, "status", "half way", "--home", str(tmp_path))
    assert "half way is interrupted" in text
    assert "1 running" in text
    rows = ask(capsys, "trials", "half way", "--home", str(tmp_path)).splitlines()
    shown = {word for row in rows for word in row.split() if word in ("running", "waiting")}
    assert shown == {"running", "waiting"}
    assert sum("running" in row for row in rows) == 1


def test_every_reading_command_works_on_a_study_that_just_began(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    keep_study(tmp_path, empty_study(), make_config("just begun"))
    for command in ("status", "trials", "best-steps", "answer"):
        assert ask(capsys, command, "just begun", "--home", str(tmp_path))
        ask_json(capsys, command, "just begun", "--home", str(tmp_path))
    ask(capsys, "report", "just begun", "--home", str(tmp_path), "--out", str(tmp_path / "out"))


def test_terminal_escapes_in_a_study_name_are_written_out(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    name = "[bold]red[/] \x1b[31m"
    keep_study(tmp_path, empty_study(name), make_config(name))
    text = ask(capsys, "status", "--home", str(tmp_path))
    assert "[bold]red[/] \\x1b[31m" in text
    assert "\x1b" not in text


def test_study_without_an_answer_has_ended_and_tells_its_reason_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    study = no_answer_study()
    keep_study(tmp_path, study, make_config("nothing fits"))
    capsys.readouterr()
    assert run_command_line(["answer", "nothing fits", "--home", str(tmp_path)]) == 3
    captured = capsys.readouterr()
    assert (captured.out + captured.err).count(study.reason or "?") == 1
    assert "no answer yet" not in captured.out
    text = ask(capsys, "status", "nothing fits", "--home", str(tmp_path))
    assert text.startswith(f"nothing fits ended without an answer: {study.reason}")
    assert "yet" not in text


def test_answer_tells_the_verdict_of_the_round_that_it_comes_from(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    study = quickstart_study()
    best = min((t for t in study.phase("round_2").trials if t.is_feasible), key=lambda t: t.best_value or 0)
    assert study.answer is not None
    found = replace(
        study.answer,
        max_train_steps=best.spec.max_train_steps,
        best_trial=best.trial,
        params={"learning_rate": 0.0119, "dropout": 0.1},
    )
    keep_study(tmp_path, replace(study, answer=found), make_config())
    text = ask(capsys, "answer", "quickstart", "--home", str(tmp_path))
    assert f"budget of round 1: {found.verdict}, of round_2: undecided" in text
    edge, verdict = ask_json(capsys, "answer", "quickstart", "--home", str(tmp_path))["caveats"]
    assert edge.startswith("learning_rate=0.0119 is at the upper edge")
    assert "round_2, whose own budget is undecided" in verdict
    assert f"caveat: {edge}" in text


def test_answer_says_where_a_study_without_one_stands(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    home = ("--home", str(tmp_path))
    keep_study(tmp_path, empty_study(), make_config("just begun"))
    keep_study(tmp_path, unfinished_study(), make_config("half way"))
    begun, half = ask(capsys, "answer", "just begun", *home), ask(capsys, "answer", "half way", *home)
    assert begun.startswith("no answer yet: just begun was interrupted, before its first phase; `tuner resume just")
    assert "no trial of round 1 has ended with a curve that may be judged" in begun
    assert "half way was interrupted, in round_1, 3 of " in half
    assert "`tuner resume half way` goes on; the best so far:" in half
    store = Store.open(None, tmp_path)
    lease = store.acquire_planner("half way", Owner.of_this_process("test"))
    assert "no answer yet: half way is running, in round_1, 3 of " in ask(capsys, "answer", "half way", *home)
    store.release(lease)
    lease = store.acquire_planner("just begun", Owner.of_this_process("test"))
    capsys.readouterr()
    assert run_command_line(["answer", "just begun", "--as", "training-arguments", *home]) == 2
    assert "no trial of round 1 has ended; it is running, ask again" in capsys.readouterr().err
    store.release(lease)
    store.close()
