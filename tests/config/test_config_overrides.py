from __future__ import annotations

from pathlib import Path

import pytest
from config_studies import CLASSIFIER, STUDY, changed, complaints, load

from tuner.config.schema import LearningRates


def test_values_are_read_as_yaml(tmp_path: Path) -> None:
    config = load(
        tmp_path,
        overrides=[
            "training.beta1=8e-1",
            "round_2=null",
            "search_space.learning_rate.low=1e-4",
            "training.warmup_steps=auto",
        ],
    ).config
    assert config.training.beta1 == 0.8
    assert config.round_2 is None
    assert config.search_space["learning_rate"].low == 1e-4


def test_a_section_left_out_starts_from_its_defaults(tmp_path: Path) -> None:
    config = load(tmp_path, overrides=["budget_sweep.learning_rates.num_rates=4", "round_2.num_seeds=3"]).config
    assert config.budget_sweep.learning_rates == LearningRates(low=1e-4, high=1e-2, num_rates=4)
    assert config.round_2 is not None
    assert config.round_2.num_seeds == 3


def test_a_section_given_as_null_is_opened_again(tmp_path: Path) -> None:
    config = load(tmp_path, STUDY + "round_2: null\n", ["round_2.num_trials=3"]).config
    assert config.round_2 is not None
    assert config.round_2.num_trials == 3


def test_list_items_are_named_by_index(tmp_path: Path) -> None:
    config = load(
        tmp_path, changed("python:pydoc_data.topics:topics", "[a.txt, b.txt]"), ["workload.text.1=c.txt"]
    ).config
    assert config.workload.text == ("a.txt", "c.txt")  # type: ignore[union-attr]


def test_free_options_may_be_added(tmp_path: Path) -> None:
    config = load(tmp_path, CLASSIFIER, ["workload.options.depth=3"]).config
    assert config.workload.options["depth"] == 3  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("override", "complaint"),
    [
        ("training.beta1=1.5", "training.beta1: 1.5 is out of range; use a number of at least 0 and below 1"),
        ("training.optimiser=sgd", "training.optimiser: unknown setting; did you mean training.optimizer?"),
        ("budget_swep.max_widenings=4", "budget_swep: unknown setting; did you mean budget_sweep?"),
        ("search_space.lr.low=3", "search_space.lr: needs low and high, or choices"),
        (
            "search_space.lr={low: 1, high: 2}",
            "search_space.lr: not a setting that can be searched; did you mean learning_rate?",
        ),
        ("foo", '"foo" is not key=value; write for example training.learning_rate=1e-3'),
        ("=3", '"=3" is not key=value'),
        ("training..beta1=3", '"training..beta1=3" is not key=value'),
        ("budget.max_steps=", "budget.max_steps: no value after '='; give one, or budget.max_steps=null"),
        ("budget.max_steps=[1", 'budget.max_steps: "[1": not valid YAML'),
        ("budget.max_steps={a: 1, a: 2}", "budget.max_steps: given twice"),
        ("budget.max_steps=.nan", "budget.max_steps: .nan is not a finite number"),
        ("budget.max_steps=100", "budget: first_guess_steps=500 is larger than max_steps=100"),
        ("study.x=3", 'study.x: study is "small", with no settings below; override it as a whole'),
        ("training.learning_rate.x=3", "training.learning_rate: has no settings below; override it as a whole"),
        ("workload.text.0=a", "workload.text.0: workload.text is"),
        ("training.learning_rate=1e-3", "training.learning_rate: 0.001 is fixed here and searched in"),
        ("execution.micro_batch_size=3", "execution.micro_batch_size=3 does not divide training.global_batch_size=16"),
    ],
)
def test_a_mistake_on_the_command_line_is_reported_there(tmp_path: Path, override: str, complaint: str) -> None:
    found = complaints(tmp_path, overrides=[override])
    assert len(found) == 1
    assert found[0].startswith(f"command line: {complaint}")


def test_an_override_given_twice_is_refused(tmp_path: Path) -> None:
    found = complaints(tmp_path, overrides=["seed=1", "seed=2"])
    assert found == ["command line: seed: given twice; keep one of them"]


def test_an_index_beyond_the_list_is_refused(tmp_path: Path) -> None:
    text = changed("python:pydoc_data.topics:topics", "[a.txt]")
    for override in ("workload.text.1=b", "workload.text.last=b"):
        found = complaints(tmp_path, text, [override])
        assert found[0].endswith("workload.text is a list of 1; name an item by its index, 0 for the first")


def test_mistakes_of_the_file_keep_their_line_beside_overrides(tmp_path: Path) -> None:
    text = changed("optimizer: adamw", "beta1: 3")
    assert complaints(tmp_path, text, ["training.beta2=4"]) == [
        "command line: training.beta2: 4 is out of range; use a number of at least 0 and below 1",
        "x.yaml:9: training.beta1: 3 is out of range; use a number of at least 0 and below 1",
    ]


@pytest.mark.parametrize(
    ("override", "complaint"),
    [
        ("training.beta1=nan", 'training.beta1: "nan" is not a finite number; use a number of at least 0 and below 1'),
        (
            "budget.max_steps=1e30",
            "budget.max_steps: 1e+30 is out of range; use a whole number of at least 1, up to 9223372036854775807",
        ),
    ],
)
def test_number_that_cannot_be_is_told_its_bound(tmp_path: Path, override: str, complaint: str) -> None:
    assert complaints(tmp_path, overrides=[override]) == [f"command line: {complaint}"]


def test_setting_of_another_kind_is_told_where_it_belongs_and_never_itself(tmp_path: Path) -> None:
    (line,) = complaints(tmp_path, CLASSIFIER, ["workload.text=a.txt"])
    assert line.startswith("command line: workload.text: not a setting of this workload")
    assert "only with workload.kind=causal_lm" in line
    assert "did you mean" not in line


def test_metric_given_on_the_command_line_is_not_blamed_on_the_file(tmp_path: Path) -> None:
    lines = complaints(tmp_path, CLASSIFIER, ["evaluation.metric=closeness"])
    assert lines
    assert all(line.startswith("command line: ") for line in lines)
