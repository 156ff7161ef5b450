"""`tuner export` and `tuner answer --as` on a real, finished, very small study."""

from __future__ import annotations

import json
import os
import re
import shutil
import sqlite3
import sys
from contextlib import closing
from pathlib import Path

import pytest
import torch
from sample_studies import empty_study, make_config, no_answer_study, quickstart_study, unfinished_study
from stored_studies import keep_study
from transformers import AutoModelForCausalLM, AutoTokenizer, TrainingArguments

from tuner.analysis.best_averaged import best_averaged_of
from tuner.cli.main import run_command_line
from tuner.config.canonical import config_from_json
from tuner.records import VALIDATION
from tuner.storage.store import Store
from tuner.training.checkpoint import read_weights
from tuner.workloads.build import build_workload

sys.path.insert(0, str(Path(__file__).parents[1] / "trials"))

from study_processes import Home

STUDY = """\
study: letters
seed: 3
workload:
  kind: causal_lm
  text: book.txt
  num_pieces: 12
  block_size: 16
  model: {hidden_size: 16, num_layers: 1, num_heads: 2}
training: {global_batch_size: 8}
evaluation: {train_sample: 16, max_validation_examples: 16, averaged_horizons: [3, 20]}
budget: {first_guess_steps: 40, max_steps: 640, perfect_fit: {metric: loss, at_most: 3.5}}
budget_sweep: {learning_rates: {low: 2e-3, high: 0.128, num_rates: 4}}
search_space: {learning_rate: {low: 3e-3, high: 3e-2, scale: log}, dropout: {low: 0.0, high: 0.3}}
round_1: {num_trials: 3, max_adjustments: 0, adjust: none}
round_2: null
"""


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The home folder of a finished study of a language model; tests only read it."""
    folder = tmp_path_factory.mktemp("export")
    home = Home(folder, text=STUDY)
    (folder / "book.txt").write_text("".join(f"chapter {n}: the quick brown fox jumps\n" for n in range(120)))
    home.tuner("run", "tiny.yaml", "--workers", "1")
    # Exporting needs no data any more.
    (folder / "book.txt").rename(folder / "read.txt")
    return folder / "runs"


def tuner(*arguments: str, exit_code: int = 0) -> None:
    assert run_command_line(arguments) == exit_code


def refused(capsys: pytest.CaptureFixture[str], *arguments: str, exit_code: int = 2) -> str:
    """The one line on stderr of a command that must be refused."""
    capsys.readouterr()
    tuner(*arguments, exit_code=exit_code)
    (line,) = capsys.readouterr().err.splitlines()
    return line


@pytest.mark.parametrize("weights", ["raw", "averaged"])
def test_exported_folder_is_the_best_checkpoint_bit_for_bit(finished: Path, tmp_path: Path, weights: str) -> None:
    tuner("export", "letters", str(tmp_path / "out"), "--home", str(finished), "--weights", weights)
    store = Store.open(None, finished, create=False)
    study = store.load("letters")
    config = config_from_json(store.study("letters").config)
    best = store.best_checkpoint(study.answer.best_trial, averaged=weights == "averaged")
    tensors = read_weights(store.paths.resolve(best.path))
    store.close()
    opened = AutoModelForCausalLM.from_pretrained(tmp_path / "out")
    (finished.parent / "book.txt").write_text((finished.parent / "read.txt").read_text())
    workload = build_workload(config.workload, {}, folder=finished.parent, cache=tmp_path / "cache")
    (finished.parent / "book.txt").unlink()
    trained = workload.build_model().eval()
    trained.load_state_dict(tensors, strict=False)
    batch = workload.batch(VALIDATION, torch.arange(16).numpy())
    with torch.no_grad():
        logits = trained(input_ids=batch["inputs"], use_cache=False).logits
        assert torch.equal(opened(input_ids=batch["inputs"]).logits, logits)
        assert float(workload.loss_sum(opened, batch)) == float(workload.loss_sum(trained, batch))
    assert AutoTokenizer.from_pretrained(tmp_path / "out")("Ab").input_ids == [65, 98]


def test_model_card_holds_the_stored_numbers(finished: Path, tmp_path: Path) -> None:
    tuner("export", "letters", str(tmp_path / "out"), "--home", str(finished), "--weights", "raw")
    card = (tmp_path / "out" / "README.md").read_text()
    store = Store.open(None, finished, create=False)
    answer = store.load("letters").answer
    store.close()
    assert f"| validation | `loss` | {answer.best_value:.5g} |" in card
    assert f"| test | `loss` | {answer.test_value:.5g} |" in card
    assert f"The weights after {answer.best_step:,} updates (" in card
    assert f"**{answer.verdict}**" in card
    assert "This is the study's answer." in card
    assert "sharing: exact" in card
    assert "| `workload.block_size` | `16` |" in card
    assert re.search(r"command: `tuner run .*`", card)
    assert "training.learning_rate" not in card
    assert card.startswith("---\nlibrary_name: transformers\n")


def test_the_better_weights_are_written_unless_the_user_says_which(
    finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store = Store.open(None, finished, create=False)
    study = store.load("letters")
    store.close()
    answer, trial = study.answer, study.answer.best_trial
    best = best_averaged_of(study, next(t for t in study.trials() if t.trial == trial))
    assert (answer.averaged is not None) == (best.value < answer.best_value)
    tuner("answer", "letters", "--home", str(finished), "--json")
    told = json.loads(capsys.readouterr().out)["answer"]
    assert told["weights"] == answer.weights
    for weights in ("averaged", None):
        tuner(
            "export",
            "letters",
            str(tmp_path / f"{weights}"),
            "--home",
            str(finished),
            *([] if weights is None else ["--weights", weights]),
        )
    card = (tmp_path / "averaged" / "README.md").read_text()
    assert (
        f"The weights averaged over about {best.horizon:,} updates, as they were after {best.step:,} updates (" in card
    )
    assert f"| validation | `loss` | {best.value:.5g} |" in card
    same = (tmp_path / "None" / "model.safetensors").read_bytes() == (
        tmp_path / "averaged" / "model.safetensors"
    ).read_bytes()
    assert same == (answer.averaged is not None)
    if answer.averaged is not None:
        assert told["averaged"] == {
            "horizon": best.horizon,
            "step": best.step,
            "value": best.value,
            "test_value": answer.averaged.test_value,
        }
        assert f"| test | `loss` | {answer.averaged.test_value:.5g} |" in card
    tuner("answer", "letters", "--home", str(finished))
    assert "best weights: " in capsys.readouterr().out


def test_averaged_weights_of_a_study_without_are_refused_in_a_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    keep_study(tmp_path / "runs", quickstart_study(), make_config())
    line = refused(
        capsys, "export", "quickstart", str(tmp_path / "out"), "--home", str(tmp_path / "runs"), "--weights", "averaged"
    )
    assert "measured no averaged weights; export its own with --weights raw" in line


def test_python_of_the_model_card_runs(finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tuner("export", "letters", str(tmp_path / "out"), "--home", str(finished))
    card = (tmp_path / "out" / "README.md").read_text()
    code = card.split("```python\n")[1].split("```")[0].replace("max_new_tokens=40", "max_new_tokens=5")
    monkeypatch.chdir(tmp_path / "out")
    exec(code, {})


def test_any_trial_with_weights_can_be_named(finished: Path, tmp_path: Path) -> None:
    store = Store.open(None, finished, create=False)
    study = store.load("letters")
    store.close()
    other = next(t for t in study.phase("round_1").trials if t.trial != study.answer.best_trial)
    tuner("export", "letters", str(tmp_path / "out"), "--home", str(finished), "--trial", str(other.trial))
    card = (tmp_path / "out" / "README.md").read_text()
    assert f"This is not the study's choice, which is trial {study.answer.best_trial}." in card
    assert "| test | – | not measured |" in card


def test_folder_that_holds_something_is_refused_and_untouched(
    finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "kept").write_text("mine")
    line = refused(capsys, "export", "letters", str(tmp_path), "--home", str(finished))
    assert "is not empty, and nothing is ever overwritten; name a new folder" in line
    assert [path.name for path in tmp_path.iterdir()] == ["kept"]
    line = refused(capsys, "export", "letters", str(tmp_path / "kept"), "--home", str(finished))
    assert "is no folder" in line


def test_empty_folder_is_filled(finished: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    tuner("export", "letters", str(tmp_path / "empty"), "--home", str(finished))
    assert (tmp_path / "empty" / "model.safetensors").is_file()


def test_failed_export_leaves_nothing_behind(
    finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def no_space(descriptor: int) -> None:
        raise OSError(28, os.strerror(28))

    monkeypatch.setattr("tuner.cli.new_folder.os.fsync", no_space)
    assert "the disk is full" in refused(
        capsys, "export", "letters", str(tmp_path / "out"), "--home", str(finished), exit_code=75
    )
    assert list(tmp_path.iterdir()) == []


def _best_file(home: Path, trial: int) -> Path:
    store = Store.open(None, home, create=False)
    path = store.paths.resolve(store.best_checkpoint(trial).path)
    store.close()
    return path


def test_missing_and_altered_weights_are_one_clear_line(
    finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(finished, tmp_path / "runs")
    store = Store.open(None, tmp_path / "runs", create=False)
    trial = store.load("letters").answer.best_trial
    store.close()
    path = _best_file(tmp_path / "runs", trial)
    command = ("export", "letters", str(tmp_path / "out"), "--weights", "raw", "--home", str(tmp_path / "runs"))
    data = path.read_bytes()
    path.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    assert "was altered" in refused(capsys, *command)
    path.unlink()
    # Another file may hold the weights of that step, too.
    while (left := _best_file(tmp_path / "runs", trial)).exists():
        left.unlink()
    assert f"the weights of trial {trial} are gone: {left} is missing" in refused(capsys, *command)
    assert not (tmp_path / "out").exists()


def test_trials_without_weights_are_refused(
    finished: Path, stored_home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = str(tmp_path / "out")
    line = refused(capsys, "export", "letters", out, "--home", str(finished), "--trial", "999")
    assert "--trial=999: letters has no such trial; `tuner trials letters` lists them" in line
    line = refused(capsys, "export", "quickstart", out, "--home", str(stored_home))
    assert "were kept" in line
    line = refused(capsys, "export", "quickstart", out, "--home", str(stored_home), "--trial", "1")
    assert "the sweep keeps no best weights" in line


def test_best_step_in_a_past_shared_with_a_run_that_kept_no_weights_is_said_so(
    finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(finished, tmp_path / "runs")
    with closing(sqlite3.connect(tmp_path / "runs" / "tuner.db")) as connection:
        trial, step = connection.execute(
            "select id, best_step from tuner_trials where phase_id != 1 limit 1"
        ).fetchone()
        connection.execute("update tuner_trials set forked_from_trial = 1, forked_from_step = ?", (step,))
        connection.execute("delete from tuner_pins")
        connection.execute("delete from tuner_checkpoints where trial_id = ?", (trial,))
        connection.commit()
    out = str(tmp_path / "out")
    line = refused(capsys, "export", "letters", out, "--home", str(tmp_path / "runs"), "--trial", str(trial))
    assert f"no weights of step {step} of trial {trial} were kept (it lies in the past shared with trial 1" in line


def test_too_early_to_export_or_to_answer(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    keep_study(tmp_path, empty_study(), make_config("just begun"))
    line = refused(capsys, "export", "just begun", str(tmp_path / "out"), "--home", str(tmp_path))
    assert "has no best trial yet" in line
    as_arguments = ("--as", "training-arguments", "--home", str(tmp_path))
    assert "has no best trial yet" in refused(capsys, "answer", "just begun", *as_arguments)
    keep_study(tmp_path, no_answer_study(), make_config("nothing fits"))
    assert "ended without an answer" in refused(capsys, "answer", "nothing fits", *as_arguments, exit_code=3)


def test_answer_prints_python_that_builds_the_arguments(
    stored_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    capsys.readouterr()
    tuner("answer", "quickstart", "--as", "training-arguments", "--home", str(stored_home))
    text = capsys.readouterr().out
    names: dict[str, object] = {}
    exec(text, names)
    args, answer = names["args"], quickstart_study().answer
    assert isinstance(args, TrainingArguments)
    assert args.max_steps == answer.max_train_steps
    assert args.learning_rate == answer.params["learning_rate"]
    assert text.startswith(f"# trial {answer.best_trial} of study quickstart: loss ")
    tuner("answer", "quickstart", "--as", "training-arguments", "--home", str(stored_home), "--json")
    settings = json.loads(capsys.readouterr().out)
    assert TrainingArguments(**settings).to_dict() == args.to_dict()


def test_arguments_of_an_unfinished_study_are_marked(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    keep_study(tmp_path, unfinished_study(), make_config("half way"))
    capsys.readouterr()
    tuner("answer", "half way", "--as", "training-arguments", "--home", str(tmp_path))
    assert "(the best so far: the study has no answer yet)" in capsys.readouterr().out
