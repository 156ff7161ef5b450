from __future__ import annotations

import json
from pathlib import Path
from typing import Any, get_args

import pytest
from config_studies import CLASSIFIER, STUDY, load
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel

from tuner.config.canonical import config_from_json, config_to_json
from tuner.config.changes import NOT_SET, SettingChange, change_of, compare, refuse_or_merge
from tuner.config.frontier_options import with_frontier
from tuner.config.json_schema import study_schema
from tuner.config.load import load_study
from tuner.config.schema import CHANGES, CausalLMWorkload, Dimension, PythonWorkload, StudyConfig
from tuner.config.settings import all_settings
from tuner.errors import ConfigError

STUDIES = Path(__file__).parents[2] / "studies"


def sections_of(model: type[BaseModel]) -> set[type[BaseModel]]:
    """Every model that can be reached through the fields' types."""
    found: set[type[BaseModel]] = {model}
    pending: list[Any] = [field.annotation for field in model.model_fields.values()]
    while pending:
        kind = pending.pop()
        if isinstance(kind, type) and issubclass(kind, BaseModel) and kind not in found:
            found.add(kind)
            pending += [field.annotation for field in kind.model_fields.values()]
        pending += get_args(kind)
    return found


def test_every_setting_says_what_a_change_of_it_means() -> None:
    sections = sections_of(StudyConfig)
    assert {CausalLMWorkload, PythonWorkload, Dimension} <= sections
    fields = [field for section in sections for field in section.model_fields.values()]
    assert len(fields) > 60
    assert {change_of(field) for field in fields} == set(CHANGES)


def test_equal_configs_have_no_changes(tmp_path: Path) -> None:
    assert compare(load(tmp_path).config, load(tmp_path).config) == ()


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("training.beta1=0.8", SettingChange(path="training.beta1", old=0.9, new=0.8, change="recipe")),
        ("training.decay_share=0.3", SettingChange(path="training.decay_share", old=0.2, new=0.3, change="decision")),
        ("execution.workers=2", SettingChange(path="execution.workers", old="auto", new=2, change="execution")),
        (
            "execution.log_every_steps=5",
            SettingChange(path="execution.log_every_steps", old=20, new=5, change="presentation"),
        ),
        ("description=new", SettingChange(path="description", old="", new="new", change="presentation")),
        (
            "search_space.learning_rate.low=1e-4",
            SettingChange(path="search_space.learning_rate.low", old=1e-3, new=1e-4, change="decision"),
        ),
        ("workload.model.dropout=0.1", SettingChange(path="workload.model.dropout", old=0.0, new=0.1, change="recipe")),
        (
            "budget.perfect_fit.at_most=1",
            SettingChange(path="budget.perfect_fit.at_most", old=1.2, new=1.0, change="decision"),
        ),
    ],
)
def test_a_change_is_named_by_its_setting_and_kind(tmp_path: Path, override: str, expected: SettingChange) -> None:
    assert compare(load(tmp_path).config, load(tmp_path, overrides=[override]).config) == (expected,)


def test_sections_that_come_or_go_are_one_change(tmp_path: Path) -> None:
    old = load(tmp_path).config
    (change,) = compare(old, load(tmp_path, overrides=["round_2=null"]).config)
    assert (change.path, change.new, change.change) == ("round_2", None, "decision")
    (change,) = compare(old, load(tmp_path, overrides=["search_space.dropout={low: 0, high: 0.5}"]).config)
    assert (change.path, change.old, change.change) == ("search_space.dropout", NOT_SET, "decision")


def test_options_are_compared_key_by_key_and_by_kind_of_value(tmp_path: Path) -> None:
    old = load(tmp_path, CLASSIFIER).config
    new = load(tmp_path, CLASSIFIER, ["workload.options.hidden_size=64.0", "workload.options.depth=1"]).config
    assert {change.path: (change.old, change.new) for change in compare(old, new)} == {
        "workload.options.hidden_size": (64, 64.0),
        "workload.options.depth": (NOT_SET, 1),
    }


def test_another_kind_of_workload_is_a_recipe_change(tmp_path: Path) -> None:
    changes = {change.path: change for change in compare(load(tmp_path).config, load(tmp_path, CLASSIFIER).config)}
    assert changes["workload.kind"] == SettingChange(
        path="workload.kind", old="causal_lm", new="python", change="recipe"
    )


def test_execution_and_presentation_may_change_on_an_existing_study(tmp_path: Path) -> None:
    new = load(tmp_path, overrides=["execution.workers=2", "description=new", "execution.micro_batch_size=4"]).config
    assert refuse_or_merge(load(tmp_path).config, new, command="run") is new


def test_recipe_and_decision_changes_are_refused_one_line_each(tmp_path: Path) -> None:
    new = load(tmp_path, overrides=["training.beta1=0.8", "budget.max_steps=8000", "execution.workers=2"]).config
    with pytest.raises(ConfigError) as caught:
        refuse_or_merge(load(tmp_path).config, new, command="run")
    recipe, decision = str(caught.value).splitlines()
    assert recipe.startswith(
        "training.beta1: 0.9 -> 0.8 would change the weights of study 'small', so `tuner run` refuses it"
    )
    assert recipe.endswith("give the changed study another name: it will still share what agrees")
    assert decision.startswith("budget.max_steps: 4000 -> 8000 would change what study 'small' decides")
    assert "refuses it; where it only adds, `tuner extend small` makes it, else give the changed study" in decision


@pytest.mark.parametrize("text", [STUDY, CLASSIFIER])
def test_a_stored_config_comes_back_exactly(tmp_path: Path, text: str) -> None:
    config = load(tmp_path, text).config
    stored = config_to_json(config)
    assert config_from_json(stored) == config
    assert compare(config_from_json(stored), config) == ()
    assert config_to_json(config_from_json(stored)) == stored


def test_a_default_is_the_same_value_before_and_after_storing(tmp_path: Path) -> None:
    config = load(tmp_path, overrides=["round_2.budget_multiple=2"]).config
    assert config.round_2 is not None
    assert isinstance(config.round_2.budget_multiple, float)
    assert isinstance(config.round_1.min_gain, float)


NUMBERS = st.floats(min_value=1e-12, max_value=0.999, allow_nan=False)
VALUES = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text()
INNER = st.lists(VALUES, max_size=3) | st.dictionaries(st.text(max_size=5), VALUES, max_size=3)
OPTIONS = st.dictionaries(st.text(max_size=5), VALUES | INNER, max_size=4)
CHOICES = st.lists(st.booleans() | st.integers() | NUMBERS | st.text(), min_size=1, max_size=4)


@settings(max_examples=100, deadline=None, derandomize=True)
@given(
    rate=NUMBERS, beta=NUMBERS, options=OPTIONS, choices=CHOICES, seed=st.integers(0, 2**31 - 1), description=st.text()
)
def test_any_config_survives_storing(
    rate: float, beta: float, options: dict[str, Any], choices: list[Any], seed: int, description: str
) -> None:
    config = StudyConfig.model_validate(
        {
            "study": "x",
            "description": description,
            "seed": seed,
            "workload": {"kind": "python", "class": "a:B", "options": options},
            "training": {"learning_rate": rate, "beta1": beta},
            "budget": {"max_steps": 2000},
            "search_space": {"width": {"choices": choices}},
        }
    )
    stored = config_to_json(config)
    again = config_from_json(stored)
    assert config_to_json(again) == stored
    assert compare(config, again) == ()
    assert [type(c) for c in again.search_space["width"].choices or ()] == [type(c) for c in choices]


@pytest.mark.parametrize("text", ["{", "[]", '{"study": "x"}', "null"])
def test_a_damaged_stored_config_is_a_config_error(text: str) -> None:
    with pytest.raises(ConfigError, match="stored config"):
        config_from_json(text)


def test_the_committed_json_schema_is_current() -> None:
    committed = (STUDIES / "schema.json").read_text(encoding="utf-8")
    assert committed == study_schema(), "write it again: tuner schema > studies/schema.json"


def test_the_json_schema_describes_every_setting() -> None:
    schema = json.loads(study_schema())
    assert schema["properties"]["training"]["$ref"]
    assert ("workload", "model", "dropout") in all_settings()
    assert ("workload", "class") in all_settings()


@pytest.mark.parametrize("path", sorted(STUDIES.rglob("*.yaml")), ids=lambda path: path.stem)
def test_every_committed_study_is_valid_and_opens_with_what_it_teaches(path: Path) -> None:
    loaded = load_study(path)
    assert loaded.warnings == ()
    assert "# Teaches: " in loaded.text.split("study:")[0]


def test_auto_in_place_of_a_space_is_a_change_of_decisions(tmp_path: Path) -> None:
    old, new = load(tmp_path).config, load(tmp_path, overrides=["search_space=auto"]).config
    for first, second in ((old, new), (new, old)):
        (change,) = compare(first, second)
        assert (change.path, change.change) == ("search_space", "decision")
    with pytest.raises(ConfigError, match=r'search_space: a mapping -> "auto" would change what study'):
        refuse_or_merge(old, new, command="run")


def test_a_frontier_measured_beside_the_yaml_stays_and_one_that_is_new_is_named(tmp_path: Path) -> None:
    plain = load(tmp_path).config
    asked = with_frontier(plain, {"num_budgets": 3})
    for new in (plain, with_frontier(plain, {"num_seeds": 2})):
        assert refuse_or_merge(asked, new, command="run").frontier == asked.frontier
    with pytest.raises(ConfigError, match="measure it beside the study: tuner frontier small"):
        refuse_or_merge(plain, asked, command="run")


def test_a_study_of_before_there_were_averages_measures_none_and_goes_on_so(tmp_path: Path) -> None:
    now = load(tmp_path).config
    stored = json.loads(config_to_json(now))
    assert stored["evaluation"].pop("averaged_horizons") == [50, 200]
    before = config_from_json(json.dumps(stored))
    assert before.evaluation.averaged_horizons == ()
    assert refuse_or_merge(before, now, command="run") == before
    asked = load(tmp_path, overrides=["evaluation.averaged_horizons=[20]"]).config
    with pytest.raises(ConfigError, match="averaged_horizons"):
        refuse_or_merge(before, asked, command="run")
