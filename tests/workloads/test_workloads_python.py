"""A user's own class: checked once when built, and its recipe names everything that could change a weight."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

import tuner
from tuner.config.schema import PythonWorkload
from tuner.errors import ConfigError, DataError
from tuner.workloads.build import build_workload, constant_loss, regularisers_off, workload_hyperparameters

DIGITS = Path(tuner.__file__).parents[1] / "studies/digits"

CLASSIFIER = """
import numpy as np, torch
from tuner.workloads.classification import ArrayClassification

class Model(ArrayClassification):
    def __init__(self, *, width=4, dropout=0.1, label_smoothing=0.0, augment=True, extra=None):
        self.width, self.label_smoothing = width, label_smoothing
    def load(self):
        x = np.arange(24, dtype=np.float64).reshape(12, 2)
        y = np.arange(12) % 3
        return {"train": (x, y), "validation": (x[:5], y[:5]), "test": (x[5:], y[5:])}
    def build_model(self):
        return torch.nn.Linear(2, 3)

class Halfway:
    metrics = ("loss",)
    def build_model(self): ...
    def num_examples(self, split): return 1

class NoLoss(Model):
    metrics = ("error",)

class NoTest(Model):
    def load(self):
        return {"train": super().load()["train"], "validation": super().load()["validation"]}

class Empty(Model):
    def load(self):
        parts = dict(super().load())
        parts["test"] = (parts["test"][0][:0], parts["test"][1][:0])
        return parts

class FloatLabels(Model):
    def load(self):
        return {split: (x, y.astype(float)) for split, (x, y) in super().load().items()}

class Needs(Model):
    def __init__(self, *, width): ...

class OtherLoss(Model):
    def score_sums(self, model, batch):
        return {**super().score_sums(model, batch), "loss": 2 * super().score_sums(model, batch)["loss"]}

class Tells(Model):
    def __init__(self, *, told="high"): self.told = told
    def constant_loss(self, split, indices): return self.told

class Abstract(ArrayClassification):
    def load(self): ...

def function(): ...
"""


@pytest.fixture
def folder(tmp_path) -> Path:
    (tmp_path / "mine.py").write_text(CLASSIFIER)
    return tmp_path


def config(name: str, **options) -> PythonWorkload:
    return PythonWorkload(**{"kind": "python", "class": name, "options": options})


def build(folder, name="mine:Model", options=None, **config_options):
    return build_workload(config(name, **config_options), options or {}, folder=folder, cache=folder / "cache")


def test_digits_is_learnable_data_with_three_disjoint_splits():
    workload = build(DIGITS, "digits:Digits", {"hidden_size": 8})
    counts = {split: workload.num_examples(split) for split in ("train", "validation", "test")}
    assert counts == {"train": 1257, "validation": 270, "test": 270}
    labels = np.concatenate([workload.batch(split, np.arange(n))["labels"] for split, n in counts.items()])
    assert np.bincount(labels).tolist() == [178, 182, 177, 183, 181, 182, 181, 179, 174, 180]
    assert workload.build_model()[0].out_features == 8


def test_run_options_override_the_configs(folder):
    workload = build(folder, options={"width": 9}, width=7, dropout=0.3)
    assert workload.recipe()["options"] == {
        "width": 9,
        "dropout": 0.3,
        "label_smoothing": 0.0,
        "augment": True,
        "extra": None,
    }


def test_an_option_at_its_default_is_the_same_recipe(folder):
    first = build(folder).recipe()
    assert build(folder, options={"width": 4}).recipe() == first
    assert build(folder, options={"width": 5}).recipe() != first
    assert json.loads(json.dumps(first)) == first


def test_the_recipe_follows_the_users_source_and_data(folder):
    first = build(folder).recipe()
    other = folder / "other"
    other.mkdir()
    (other / "mine.py").write_text(CLASSIFIER.replace("% 3", "% 2"))
    second = build(other).recipe()
    assert second["source"] != first["source"]
    assert second["own"]["data"] != first["own"]["data"]


def test_modules_of_one_name_in_two_folders_do_not_mix_in_one_process(folder):
    other = folder / "other"
    other.mkdir()
    (other / "mine.py").write_text(CLASSIFIER.replace("torch.nn.Linear(2, 3)", "torch.nn.Linear(2, 30)"))
    assert [build(place).build_model().out_features for place in (folder, other, folder)] == [3, 30, 3]


def test_hyperparameters_are_the_classes_keywords(folder):
    names = workload_hyperparameters(config("mine:Model"), folder=folder)
    assert names == ("width", "dropout", "label_smoothing", "augment", "extra")


def test_the_sweep_switches_off_what_regularises(folder):
    assert regularisers_off(config("mine:Model"), folder=folder) == {
        "dropout": 0.0,
        "label_smoothing": 0.0,
        "augment": False,
    }


def test_scores_are_sums_without_label_smoothing(folder):
    smooth, plain = (build(folder, options={"label_smoothing": value}) for value in (0.3, 0.0))
    torch.manual_seed(0)
    model = plain.build_model()
    batch = plain.batch("train", np.arange(12))
    scores = plain.score_sums(model, batch)
    assert torch.equal(smooth.score_sums(model, batch)["loss"], scores["loss"])
    assert torch.equal(plain.loss_sum(model, batch), scores["loss"])
    assert not torch.equal(smooth.loss_sum(model, batch), scores["loss"])
    assert int(scores["error"]) + int(scores["accuracy"]) == plain.num_targets(batch) == 12


def test_a_constant_predictor_of_a_classifier_knows_the_class_frequencies(folder):
    workload = build(folder)
    assert constant_loss(workload, "train", np.arange(12)) == pytest.approx(np.log(3))
    assert constant_loss(workload, "train", np.array([0, 1, 3, 6])) == pytest.approx(0.5623, rel=1e-3)  # 3 of 0, 1 of 1
    # No constant model does better, by the workload's own scores.
    model = torch.nn.Linear(2, 3)
    torch.nn.init.zeros_(model.weight)
    for bias in ([0.0, 0.0, 0.0], [0.2, 0.0, 0.0], [0.0, -0.1, 0.3]):
        model.bias.data = torch.tensor(bias)
        with torch.no_grad():
            loss = float(workload.score_sums(model, workload.batch("train", np.arange(12)))["loss"]) / 12
        assert loss >= np.log(3) - 1e-6


def test_a_class_with_a_loss_of_its_own_tells_no_constant_predictor_unless_it_does(folder):
    assert constant_loss(build(folder, "mine:OtherLoss"), "train", np.arange(12)) is None
    assert constant_loss(build(folder, "mine:Tells", told=2), "train", np.arange(12)) == 2.0
    for told in ("high", True, None):
        workload = build(folder, "mine:Tells", told=told)
        if told is None:
            assert constant_loss(workload, "train", np.arange(12)) is None
            continue
        with pytest.raises(ConfigError, match=r"constant_loss\('train', \.\.\.\) returned"):
            constant_loss(workload, "train", np.arange(12))


@pytest.mark.parametrize(
    ("name", "options", "error", "message"),
    [
        ("mine:Model", {"widht": 3}, ConfigError, r"workload\.options\.widht=3: .* did you mean width\?"),
        ("mine:Model", {"colour": 3}, ConfigError, r"colour=3: mine:Model has no such option; it takes width, dropout"),
        ("mine:Needs", {}, ConfigError, r"mine:Needs needs width; set them there"),
        ("mine:Modle", {}, ConfigError, r"module mine has no 'Modle'"),
        ("mein:Model", {}, ConfigError, r"there is no module mein in .*put mein\.py beside the study"),
        ("mine:function", {}, ConfigError, r"is a function; name a class"),
        ("mine:Halfway", {}, ConfigError, r"lacks batch, num_targets, loss_sum, score_sums, recipe"),
        ("mine:Abstract", {}, ConfigError, r"lacks build_model"),
        ("mine:NoLoss", {}, ConfigError, r"metrics=\('error',\); it must be a tuple of names that holds 'loss'"),
        ("mine:NoTest", {}, DataError, r"load\(\) returned train, validation; it must return"),
        ("mine:Empty", {}, DataError, r"the test split has no examples"),
        ("mine:FloatLabels", {}, DataError, r"train labels of shape \(12,\) and type float64"),
        ("mine:Model", {"extra": {1, 2}}, ConfigError, r"must be JSON values"),
    ],
)
def test_what_a_class_gets_wrong_is_one_clear_line(folder, name, options, error, message):
    with pytest.raises(error, match=message) as caught:
        build(folder, name, **options)
    assert "\n" not in str(caught.value)


def test_errors_inside_the_users_code_keep_their_own_traceback(folder):
    (folder / "broken.py").write_text("import no_such_thing\n")
    with pytest.raises(ModuleNotFoundError, match="no_such_thing"):
        build(folder, "broken:Model")
