"""What a constant predictor's loss is, as a worker measures it for the study's facts."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from study_processes import TINY_FOLDER

from tuner.config.schema import StudyConfig
from tuner.records import TRAIN_SAMPLE
from tuner.storage.store import Store
from tuner.trials.bench import Control, Sharing
from tuner.trials.torch_bench import TorchBench


def bench_of(workload: dict[str, object], folder: Path, home: Path) -> TorchBench:
    config = StudyConfig.model_validate(
        {
            "study": "x",
            "workload": workload,
            "evaluation": {"train_sample": 300},
            "budget": {"max_steps": 2000},
            "search_space": {"learning_rate": {"low": 1e-4, "high": 1e-2, "scale": "log"}},
        }
    )
    store = Store.open(None, home)
    return TorchBench(store, config, folder=folder, device="cpu", sharing=Sharing(), control=Control())


def test_a_classifiers_is_the_entropy_of_the_very_sample_that_is_evaluated(tmp_path: Path) -> None:
    bench = bench_of({"kind": "python", "class": "tiny_workload:Rings"}, TINY_FOLDER, tmp_path)
    whole = bench.workload({}).batch(TRAIN_SAMPLE, np.arange(500))["labels"].numpy()
    share = whole.mean()
    entropy = -share * np.log(share) - (1 - share) * np.log(1 - share)
    found = bench.facts().constant_loss
    assert found is not None
    assert found != pytest.approx(entropy, rel=1e-9)  # 300 of the 500
    assert found == pytest.approx(entropy, rel=0.02)


def test_a_language_models_is_the_unigram_entropy_of_its_targets(tmp_path: Path) -> None:
    text = tmp_path / "text.txt"
    text.write_text("\n\n".join(f"aaab{'c' * (n % 3)}" * 4 for n in range(60)))
    model = {"hidden_size": 8, "num_layers": 1, "num_heads": 1}
    bench = bench_of(
        {"kind": "causal_lm", "text": str(text), "block_size": 16, "model": model, "num_pieces": 20}, tmp_path, tmp_path
    )
    workload = bench.workload({})
    num_examples = workload.num_examples(TRAIN_SAMPLE)
    assert num_examples <= 300, "all of them are evaluated"
    counts = np.bincount(workload.batch(TRAIN_SAMPLE, np.arange(num_examples))["targets"].numpy().ravel())
    shares = counts[counts > 0] / counts.sum()
    assert bench.facts().constant_loss == pytest.approx(-(shares * np.log(shares)).sum())


def test_a_workload_that_cannot_tell_is_measured_untrained(tmp_path: Path) -> None:
    source = (TINY_FOLDER / "tiny_workload.py").read_text()
    (tmp_path / "untold.py").write_text(
        source + "\n    def constant_loss(self, split, indices):\n        return None\n"
    )
    bench = bench_of({"kind": "python", "class": "untold:Rings"}, tmp_path, tmp_path)
    found = bench.facts().constant_loss
    assert found is not None
    assert 0.6 < found < 0.9  # two classes, not yet told apart
    assert found == bench_of({"kind": "python", "class": "untold:Rings"}, tmp_path, tmp_path).facts().constant_loss
