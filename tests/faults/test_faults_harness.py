"""The harness itself: the toy obeys the rules of real training, and its studies do what the protocol does."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from campaign import all_campaigns
from numpy_trainer import ToyRun
from toy_study import CHECKPOINT_EVERY_STEPS, LONG, SHORT, reference_of

from tuner.records import OptimizerSpec, RunSpec, ScheduleSpec

SPEC = RunSpec(
    seed=3,
    max_train_steps=40,
    learning_rate=0.3,
    schedule=ScheduleSpec(kind="warmup_stable_decay", warmup_steps=3, decay_steps=8),
    optimizer=OptimizerSpec(name="sgd", weight_decay=0.0, momentum=0.5),
    max_grad_norm=None,
    precision="fp32",
    global_batch_size=16,
    eval_every_steps=4,
)


def advanced(run: ToyRun, until: int) -> ToyRun:
    while run.global_step < until:
        run.update()
    return run


def test_runner_and_worker_import_no_torch() -> None:
    code = "import sys, tuner.trials.runner, tuner.trials.worker; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_a_toy_run_that_was_saved_and_loaded_goes_on_bit_for_bit(tmp_path: Path) -> None:
    straight, first, second = (ToyRun(SPEC, str, (3, 20)) for _ in range(3))
    saved = advanced(first, 23).copy_full().save(tmp_path / "23.safetensors")
    second.load(saved.path, sha256=saved.sha256)
    assert second.weights_digest() == saved.weights_digest
    assert advanced(second, 40).weights_digest() == advanced(straight, 40).weights_digest()
    assert second.gradient_summary() == straight.gradient_summary()
    assert second.evaluate_averages() == straight.evaluate_averages()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("text", "phases"),
    [
        (SHORT, {"budget_sweep": 3, "round_1": 4, "round_2": 4, "round_3": 2}),
        (LONG, {"budget_sweep": 3, "round_1": 5, "round_1.2": 5, "round_1.decay": 3, "round_2": 2}),
    ],
    ids=["short", "long"],
)
def test_toy_studies_take_the_way_of_the_protocol(text: str, phases: dict[str, int]) -> None:
    rows = reference_of(text).rows()
    found = [row[0] for row in rows.trials]
    assert {phase: found.count(phase) for phase in found} == phases
    assert f"checkpoint_every_steps: {CHECKPOINT_EVERY_STEPS}," in text
    assert {decision[2] for decision in rows.decisions} >= {"rung", "budget", "verdict", "answer"}


def test_the_table_says_how_many_faults_the_tests_do() -> None:
    lines = (Path(__file__).parent / "README.md").read_text().splitlines()
    told = {cells[1].strip(): cells[3].strip() for line in lines if len(cells := line.split("|")) == 10}
    assert {campaign.name: str(campaign.num_ci) for campaign in all_campaigns()}.items() <= told.items()
