"""`tuner init`: what it writes passes `tuner check` as it stands, and the default one runs to an answer."""

from __future__ import annotations

import contextlib
import json
import re
import sys
from pathlib import Path

import pytest
from transformers import AutoModelForCausalLM, AutoTokenizer

from tuner.cli.first_choices import follow_loss
from tuner.cli.main import run_command_line
from tuner.config.first_study import scalar
from tuner.config.load import load_study
from tuner.workloads.text import load_tokens

sys.path.insert(0, str(Path(__file__).parents[1] / "trials"))

from study_processes import Home

PROSE = "".join(f"Line {n} of a short text, with words that come again and again.\n" for n in range(400))


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "book.txt").write_text(PROSE)
    (tmp_path / "plays").mkdir()
    for number in range(12):
        (tmp_path / "plays" / f"{number}.txt").write_text(PROSE)
    return tmp_path


def init(*arguments: str, exit_code: int = 0) -> None:
    assert run_command_line(["init", *arguments]) == exit_code


@pytest.mark.parametrize(
    "options",
    [
        [],
        ["--hours", "4"],
        ["--hours", "0.5"],
        ["--gpu", "6GB"],
        ["--gpu", "24gb", "--hours", "4"],
        ["--gpu", "4", "--hours", "100"],
        ["--data", "book.txt"],
        ["--data", "book.txt", "--model", "llama"],
        ["--data", "plays/*.txt", "--model", "gpt2", "--hours", "4", "--gpu", "8GB"],
    ],
)
def test_written_study_passes_check_without_a_warning(
    here: Path, capsys: pytest.CaptureFixture[str], options: list[str]
) -> None:
    init("mine", *options)
    assert load_study(here / "mine.yaml").warnings == ()
    capsys.readouterr()
    assert run_command_line(["check", "mine.yaml"]) == 0
    assert capsys.readouterr().err == ""


def test_every_setting_is_explained(here: Path) -> None:
    init("mine", "--data", "book.txt")
    lines = (here / "mine.yaml").read_text().splitlines()
    sections = {"budget:", "evaluation:", "training:", "workload:", "  split:"}
    explained = [line for line in lines if "#" in line or not line.strip() or line in sections]
    # The one setting whose explanation is the paragraph above it.
    assert [line.strip() for line in lines if line not in explained] == [
        line.strip() for line in lines if "perfect_fit: {" in line
    ]
    assert max(map(len, lines)) <= 130


def test_few_files_are_cut_into_pieces_and_many_are_not(here: Path) -> None:
    init("one", "--data", "book.txt")
    init("many", "--data", "plays/*.txt")
    assert load_study(here / "one.yaml").config.workload.num_pieces == 20
    assert load_study(here / "many.yaml").config.workload.num_pieces == 1


def test_context_is_shortened_until_each_split_has_an_example(here: Path) -> None:
    (here / "short.txt").write_text(PROSE[:4000])
    init("mine", "--data", "short.txt", "--gpu", "8GB")
    assert load_study(here / "mine.yaml").config.workload.block_size == 256


def test_hours_bound_the_longest_course_of_the_study(here: Path) -> None:
    sizes = []
    for hours in ("0.5", "1", "8", "50"):
        init(f"h{hours}", "--hours", hours)
        text = (here / f"h{hours}.yaml").read_text().replace("\n# ", " ")
        amount, unit = re.search(r"at most about ([\d.]+) (hours|minutes)", text).groups()
        assert float(amount) / (60 if unit == "minutes" else 1) <= float(hours) * 1.01
        config = load_study(here / f"h{hours}.yaml").config
        # Sized for one doubling of the budget; probes and further ones are there for hours that are left.
        assert (config.round_1.adjust, config.round_1.max_adjustments) == ("probe", 4)
        sizes.append((config.workload.model.hidden_size, config.budget.max_steps))
    assert sizes == sorted(sizes)


def test_smaller_gpu_gets_a_smaller_model(here: Path) -> None:
    sizes = {}
    for gpu in ("4GB", "6GB", "8GB", "80GB"):
        init(f"g{gpu}", "--gpu", gpu)
        config = load_study(here / f"g{gpu}.yaml").config
        model = config.workload.model
        sizes[gpu] = (model.hidden_size, model.num_layers, model.num_heads, config.execution.micro_batch_size)
    assert sizes == {"4GB": (256, 4, 4, 1), "6GB": (384, 6, 6, 2), "8GB": (512, 8, 8, 4), "80GB": (768, 12, 12, 8)}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["mine.yaml"], "names the study, not its file; use mine"),
        (["a/b"], "cannot name a study"),
        (["mine", "--data", "no/*.txt"], "--data=no/*.txt: no file matches"),
        (["mine", "--data", "tiny.txt"], "too few to learn from"),
        (["mine", "--data", "latin.txt"], "is not UTF-8 at byte 3"),
        (["mine", "--model", "bert"], "--model=bert is not trained from scratch here; use gpt2 or llama"),
        (["mine", "--hours", "0"], "--hours=0 buys nothing"),
        (["mine", "--hours", "0.001"], "--hours=0.001: the smallest study may take"),
        (["mine", "--data", ""], "--data= is empty; name a text file or a glob, or leave --data out"),
        (["mine", "--gpu", "2GB"], "--gpu=2GB is below the smallest preset, 4GB"),
        (["mine", "--gpu", "big"], "--gpu=big is no size of memory; write it like 6GB"),
        (["mine", "--data", "t.csv", "--text", "boby"], "has no such column; did you mean body? it has id, body"),
        (["mine", "--data", "book.txt", "--text", "body"], "--text=body: book.txt is no table that has columns"),
        (["mine", "--text", "body"], "--text=body names a column of --data; give --data too"),
    ],
)
def test_bad_input_is_one_line_and_writes_nothing(
    here: Path, capsys: pytest.CaptureFixture[str], options: list[str], message: str
) -> None:
    (here / "tiny.txt").write_text("too little\n")
    (here / "t.csv").write_text("id,body\n1,words\n")
    (here / "latin.txt").write_bytes(b"caf\xe9\n")
    capsys.readouterr()
    init(*options, exit_code=2)
    (line,) = capsys.readouterr().err.splitlines()
    assert message in line
    assert list(here.glob("*.yaml")) == []


@pytest.mark.parametrize("num_rows", [4, 40])
def test_column_of_a_table_becomes_a_study_that_reads_it(here: Path, num_rows: int) -> None:
    rows = "".join(f'{{"id": {n}, "the body": {json.dumps(PROSE[: 64 * 200])}}}\n' for n in range(num_rows))
    (here / "t.jsonl").write_text(rows)
    init("mine", "--data", "t.jsonl", "--text", "the body", "--model", "llama")
    workload = load_study(here / "mine.yaml").config.workload
    assert (workload.text, workload.text_column) == ("t.jsonl", "the body")
    assert workload.num_pieces == (5 if num_rows == 4 else 1)
    assert workload.model.architecture == "llama"
    assert load_tokens(workload, folder=here, cache=here / "cache").tokens["train"].size > 64
    (line,) = [line for line in (here / "mine.yaml").read_text().splitlines() if "text_column" in line]
    assert "# the column that holds the text; one document per row" in line


def test_hours_become_a_limit_and_no_hours_a_line_that_shows_it(here: Path) -> None:
    init("limited", "--hours", "0.5")
    init("free")
    limited, free = (load_study(here / f"{name}.yaml").config for name in ("limited", "free"))
    assert limited.limits.study_hours == 0.5
    assert free.limits.study_hours is None
    text = {name: (here / f"{name}.yaml").read_text() for name in ("limited", "free")}
    assert "\n# limits: {study_hours: 4}  # a hard cap" in text["free"]
    # Without a fit a study of limited hours takes its length from them; any other ends.
    assert "without a fit by then the hours set the length" in text["limited"]
    assert "without a fit by then there is no answer" in text["free"]
    assert limited.round_2 is not None
    assert limited.round_2.budget_multiple == "auto"


def test_a_table_without_a_column_is_read_as_text_and_said_so(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (here / "t.csv").write_text("id,body\n" + "".join(f"{n},{PROSE[:500]!r}\n" for n in range(100)))
    init("mine", "--data", "t.csv")
    assert "t.csv is read as plain text, with all its columns; --text COLUMN takes one" in capsys.readouterr().err


def test_existing_file_is_never_overwritten(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (here / "mine.yaml").write_text("mine")
    init("mine", exit_code=2)
    assert "mine.yaml exists, and nothing is overwritten" in capsys.readouterr().err
    assert (here / "mine.yaml").read_text() == "mine"


def test_names_and_paths_that_yaml_would_misread_are_quoted(here: Path) -> None:
    for name in ("on", "12", "a b: c", "it's", "ünïcode", "x #y"):
        (here / "odd #1: text.txt").write_text(PROSE)
        init(name, "--data", "odd #1: text.txt")
        config = load_study(here / f"{name}.yaml").config
        assert (config.study, config.workload.text) == (name, "odd #1: text.txt")
    assert scalar("plays/*.txt") == '"plays/*.txt"'


def test_follow_loss_is_the_conditional_entropy_of_bytes() -> None:
    assert follow_loss(b"abababababab") == 0
    assert follow_loss(b"aabb" * 1000 + b"a") == pytest.approx(0.693147, abs=1e-4)
    assert follow_loss(b"") == 0


@pytest.mark.slow
def test_llama_on_a_column_in_bpe_runs_to_a_model_that_opens_elsewhere(tmp_path: Path) -> None:
    home = Home(tmp_path, text="")
    rows = "".join(f'{n},"{PROSE[64 * n : 64 * n + 1280]}"\n' for n in range(60))
    (home.folder / "t.csv").write_text("id,body\n" + rows)
    with contextlib.chdir(home.folder):
        init("first", "--data", "t.csv", "--text", "body", "--model", "llama")
    bpe = ("workload.tokenizer=bpe", "workload.vocab_size=300", "workload.block_size=16")
    home.tuner("run", "first.yaml", *SHORTER, *bpe)
    assert home.json("status", "first")["state"] == "finished"
    (home.folder / "t.csv").unlink()
    home.tuner("export", "first", "out")
    tokenizer = AutoTokenizer.from_pretrained(home.folder / "out")
    text = "Line 7 of a short text, with ünusual words <|endoftext|>"
    assert tokenizer.decode(tokenizer(text, truncation=False).input_ids) == text
    assert len(tokenizer) == 300
    model = AutoModelForCausalLM.from_pretrained(home.folder / "out")
    assert model.config.model_type == "llama"
    assert model.lm_head.weight.shape[0] == 300
    assert "different tokenizers do not compare" in (home.folder / "out" / "README.md").read_text()


@pytest.mark.slow
def test_default_study_runs_to_an_answer(tmp_path: Path) -> None:
    home = Home(tmp_path, text="")
    home.tuner("run", "--help")
    run_command = ("run", "first.yaml", *SHORTER)
    written = home.folder / "first.yaml"
    home_init(home)
    assert written.is_file()
    home.tuner(*run_command)
    assert home.json("status", "first")["state"] == "finished"


SHORTER = (
    "workload.model.hidden_size=32",
    "workload.split.max_train_tokens=20000",
    "budget.first_guess_steps=60",
    "budget.perfect_fit.at_most=3.2",
    "budget_sweep.max_widenings=3",
    "round_1.num_trials=2",
    "round_2=null",
)
"""The same study in seconds."""


def home_init(home: Home) -> None:
    """`tuner init first` in the home's folder."""
    with contextlib.chdir(home.folder):
        init("first")
