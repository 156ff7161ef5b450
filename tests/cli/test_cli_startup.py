"""What commands leave alone when they start, in fresh processes; their seconds are in tests/benchmarks/startup.py."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

HEAVY = ("torch", "transformers", "pandas", "optuna", "sqlalchemy", "alembic", "matplotlib", "scipy", "tensorboard")
ROOT = Path(__file__).parents[2]


def heavy_modules(*arguments: str, heavy: tuple[str, ...] = HEAVY) -> list[str]:
    """The heavy libraries that a command has imported when it ends."""
    code = (
        "import sys; from tuner.cli.main import run_command_line\n"
        f"code = run_command_line({list(arguments)!r})\n"
        f"print('LOADED', code, *[name for name in {heavy!r} if name in sys.modules])"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    last = run.stdout.splitlines()[-1].split()
    assert last[:2] == ["LOADED", "0"], run.stderr
    return last[2:]


def test_help_imports_nothing_heavy() -> None:
    assert heavy_modules("--help") == []


def test_check_imports_nothing_heavy(tmp_path: Path) -> None:
    study = tmp_path / "study.yaml"
    study.write_text(
        "study: small\n"
        "workload: {kind: python, class: 'missing_module:Missing'}\n"
        "budget: {max_steps: 2000, perfect_fit: {metric: loss, at_most: 1.2}}\n"
        "search_space: {learning_rate: {low: 1e-4, high: 1e-2, scale: log}}\n"
    )
    assert heavy_modules("check", str(study), heavy=(*HEAVY, "numpy")) == []


@pytest.mark.parametrize("command", ["status", "trials", "answer", "best-steps"])
def test_reading_commands_import_the_database_alone(command: str, stored_home: Path) -> None:
    assert set(heavy_modules(command, "quickstart", "--home", str(stored_home))) <= {"sqlalchemy"}


def test_status_of_a_study_with_an_answer_reads_no_config(stored_home: Path) -> None:
    assert heavy_modules("status", "quickstart", "--home", str(stored_home), heavy=("tuner.config.schema",)) == []


def test_resume_of_an_ended_study_opens_optuna_only_where_its_tables_lack_something(
    stored_home: Path, tmp_path: Path
) -> None:
    home = tmp_path / "runs"
    shutil.copytree(stored_home, home)
    assert "optuna" in heavy_modules("resume", "quickstart", "--home", str(home))
    assert heavy_modules("resume", "quickstart", "--home", str(home)) == ["sqlalchemy"]


def test_module_runs_as_a_program() -> None:
    run = subprocess.run(
        [sys.executable, "-m", "tuner.cli.main", "--version"], capture_output=True, text=True, check=True, cwd=ROOT
    )
    assert run.stdout.startswith("tuner ")
