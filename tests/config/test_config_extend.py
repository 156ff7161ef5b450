"""Which settings `tuner extend` moves, and which way; what it refuses, in one line each."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from config_studies import CLASSIFIER, STUDY, load

from tuner.config.added_points import added_point
from tuner.config.canonical import config_from_json, config_to_json
from tuner.config.changes import compare
from tuner.config.extension import UPWARDS, changes, extended_config, keep_extended
from tuner.config.schema import Frontier, StudyConfig
from tuner.config.settings import all_settings
from tuner.errors import ConfigError

ROUNDS = f"{STUDY}rounds: [{{num_seeds: 2}}, {{num_trials: 1}}]\n"


def stored(folder: Path, text: str = STUDY, *overrides: str) -> StudyConfig:
    return config_from_json(config_to_json(load(folder, text, overrides).config))


def refused(config: StudyConfig, *overrides: str) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        extended_config(config, overrides)
    return str(caught.value).splitlines()


def test_every_setting_that_may_move_is_a_decision_of_the_schema(tmp_path: Path) -> None:
    known = {".".join(map(str, path)) for path in all_settings()}
    assert {name.replace("rounds.*", "round_2") for name in UPWARDS} <= known
    old, new = stored(tmp_path), stored(tmp_path, STUDY, "round_1.num_trials=9", "limits.study_hours=3")
    assert {change.change for change in compare(old, new)} == {"decision"}


@pytest.mark.parametrize(
    ("before", "override"),
    [
        ("budget.max_steps=4000", "budget.max_steps=8000"),
        ("budget.production_steps=null", "budget.production_steps=90000"),
        ("limits.study_hours=2", "limits.study_hours=3"),
        ("limits.study_hours=2", "limits.study_hours=null"),
        ("limits.run_hours=null", "limits.run_hours=3"),
        ("budget_sweep.max_widenings=3", "budget_sweep.max_widenings=4"),
        ("round_1.num_trials=8", "round_1.num_trials=9"),
        ("round_1.max_adjustments=1", "round_1.max_adjustments=2"),
        ("round_1.adjust=none", "round_1.adjust=probe"),
        ("round_1.decay_shares=[]", "round_1.decay_shares=[0.1]"),
        ("round_2.num_trials=2", "round_2.num_trials=3"),
        ("round_2.num_seeds=2", "round_2.num_seeds=3"),
        ("round_2.budget_multiple=2", "round_2.budget_multiple=4"),
        ("round_2.budget_multiple=auto", "round_2.budget_multiple=4"),
        ("round_2.lower_rate_twin=false", "round_2.lower_rate_twin=true"),
        ("round_2=null", "rounds=[{}]"),
        ("frontier=null", "frontier={}"),
        ("execution.workers=auto", "execution.workers=2"),
    ],
)
def test_upwards_is_accepted_and_downwards_refused_with_the_rule(tmp_path: Path, before: str, override: str) -> None:
    low = stored(tmp_path, STUDY, before)
    high = extended_config(low, [override])
    assert len(changes(low, high)) == 1
    assert extended_config(high, [override]) == high, "the same once more is no change"
    if override.startswith(("execution", "rounds")):
        return
    (line,) = refused(high, before)
    assert re.match(rf"{re.escape(before.partition('=')[0])}.*: .+ -> .+", line)
    assert "takes nothing away" in line
    assert line.endswith("give the changed study another name: it will still share what agrees")


@pytest.mark.parametrize(
    ("override", "told"),
    [
        ("training.beta1=0.8", "would change the weights of study 'small', so `tuner extend` refuses it"),
        ("seed=3", "would change the weights"),
        ("workload.text=other.txt", "would change the weights"),
        ("evaluation.metric=perplexity", "cannot be ranked together"),
        ("evaluation.max_validation_examples=10", "cannot be ranked together"),
        ("search_space.learning_rate.low=1e-4", "it moves budget.max_steps, "),
        ("round_1.sampler=tpe", "it moves budget.max_steps, "),
        ("round_1.adjust=raw", "only none -> probe measures more"),
        ("budget.first_guess_steps=600", "would change what study 'small' has decided already"),
        ("round_2.extend=constant", "would change what study"),
    ],
)
def test_what_cannot_be_joined_is_refused_and_says_what_moves(tmp_path: Path, override: str, told: str) -> None:
    (line,) = refused(stored(tmp_path), override)
    assert line.startswith(override.partition("=")[0])
    assert told in line
    assert "another name" in line


GRID = CLASSIFIER.replace("high: 1e-2", "high: 1e-2, num_points: 4") + "round_1: {sampler: grid, num_trials: 8}\n"
LEARNS = f"{STUDY}round_1: {{sampler: tpe, parallelism: 4, num_trials: 8}}\n"
ASKED = CLASSIFIER.replace("[16, 32]", "[16, 32], role: scientific")


@pytest.mark.parametrize(
    ("text", "override", "told"),
    [
        (GRID, "round_1.num_trials=9", "9 is not the size of the grid, 4 x 2 = 8 points"),
        (GRID, "search_space.learning_rate.num_points=5", "10 points"),
        (LEARNS, "round_1.parallelism=8", "would change what study 'small' has decided already"),
        (LEARNS, "round_1.sampler=gp", "would change what study"),
        (LEARNS, "round_1.num_trials=6", "only a larger number adds to the study"),
        (ASKED, "search_space.width.choices=[16,32,64]", "would change what study 'digits' has decided already"),
        (ASKED, "search_space.width.role=nuisance", "would change what study 'digits' has decided already"),
    ],
)
def test_searches_and_questions_only_get_more_trials(tmp_path: Path, text: str, override: str, told: str) -> None:
    (line,) = refused(stored(tmp_path, text), override)
    assert told in line
    assert line.startswith(("command line: ", override.partition("=")[0], override.rpartition(".")[0]))


def test_all_that_is_refused_is_told_at_once_and_unknown_settings_as_everywhere(tmp_path: Path) -> None:
    lines = refused(stored(tmp_path), "training.beta1=0.8", "round_1.num_trials=5", "budget.max_steps=9000")
    assert len(lines) == 2
    (line,) = refused(stored(tmp_path), "round_1.num_trial=9")
    assert "did you mean" in line


def test_another_round_is_one_place_more_however_the_first_was_written(tmp_path: Path) -> None:
    short = stored(tmp_path)
    longer = extended_config(short, ["rounds.1.budget_multiple=2"])
    assert len(longer.later_rounds) == 2
    assert longer.later_rounds[0] == short.round_2
    assert [(c.path, c.old, c.new) for c in changes(short, longer)] == [("rounds", 1, 2)]
    listed = stored(tmp_path, ROUNDS)
    assert extended_config(listed, ["rounds.2.num_trials=1"]).later_rounds[:2] == listed.later_rounds
    (line,) = refused(listed, "rounds.4.num_trials=1")
    assert "is a list of 2" in line
    assert any("only more rounds add" in line for line in refused(listed, "rounds=[{num_seeds: 2}]"))


def test_seeds_of_one_round_are_named_by_its_place(tmp_path: Path) -> None:
    old, listed = stored(tmp_path), stored(tmp_path, ROUNDS)
    assert [c.path for c in changes(old, extended_config(old, ["round_2.num_seeds=3"]))] == ["round_2.num_seeds"]
    new = extended_config(listed, ["rounds.1.num_seeds=3"])
    assert [c.path for c in changes(listed, new)] == ["rounds.1.num_seeds"]


def test_a_point_takes_what_it_does_not_name_from_the_answer(tmp_path: Path) -> None:
    config = stored(tmp_path, CLASSIFIER)
    answer = {"learning_rate": 2e-3, "width": 32, "decay_steps": 10}
    found = added_point("learning_rate=1e-4", config, config.given_space, answer=answer)
    assert found.params == {"learning_rate": 1e-4, "width": 32}
    assert found.from_answer == ("width",)
    assert found.outside == ("learning_rate",), "told, not refused: it is the user's idea"
    inside = added_point("width=16,learning_rate=5e-3", config, config.given_space, answer=None)
    assert (inside.from_answer, inside.outside) == ((), ())


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("lr=1e-3", "lr is not searched by this study; use learning_rate, width"),
        ("width=16,learning_rate=fast", 'learning_rate="fast" is no value that this study can rank beside the others'),
        ("width=16,learning_rate=true", "use a number"),
        ("width=16,learning_rate=-1", "out of range for training.learning_rate"),
        ("learning_rate=1e-3,learning_rate=1e-2", "given twice"),
        ("learning_rate", "is not key=value"),
        ("learning_rate=1e-3", "width is missing, and there is no answer yet to take it from"),
        ("learning_rate=1e-3,width=wide", 'width="wide" is no value'),
    ],
)
def test_a_point_that_cannot_be_one_is_refused(tmp_path: Path, text: str, told: str) -> None:
    config = stored(tmp_path, CLASSIFIER)
    with pytest.raises(ConfigError) as caught:
        added_point(text, config, config.given_space, answer=None)
    assert str(caught.value).startswith("--add-point ")
    assert told in str(caught.value)


def test_a_point_waits_for_a_space_that_is_chosen_later(tmp_path: Path) -> None:
    config = stored(tmp_path, STUDY, "search_space=auto")
    with pytest.raises(ConfigError, match=r"has no search space to hold a point: search_space: auto is chosen when"):
        added_point("learning_rate=1e-3", config, config.given_space, answer=None)


def test_whole_numbers_stay_whole_and_betas_below_one(tmp_path: Path) -> None:
    space = "{depth: {low: 1, high: 4, integer: true}, keep: {low: 0.5, high: 0.99, scale: one_minus_log}}"
    config = stored(tmp_path, CLASSIFIER, f"search_space={space}", "training.learning_rate=0.01")
    found = added_point("depth=2.0,keep=0.6", config, config.given_space, answer=None).params
    assert (found, type(found["depth"])) == ({"depth": 2, "keep": 0.6}, int)
    with pytest.raises(ConfigError, match=r"must be below 1, as search_space\.keep has a one_minus_log scale"):
        added_point("depth=2,keep=1.5", config, config.given_space, answer=None)


def test_the_yaml_that_a_study_began_with_still_names_it_after_an_extension(tmp_path: Path) -> None:
    yaml = stored(tmp_path, STUDY, "execution.workers=3")
    old = stored(tmp_path)
    extended = extended_config(old, ["rounds.1.num_trials=1", "rounds.0.num_seeds=4", "round_1.num_trials=9"])
    moved = [(change.path, change.old) for change in changes(old, extended)]
    kept = keep_extended(extended, yaml, moved)
    assert kept.later_rounds == extended.later_rounds
    assert kept.round_1.num_trials == 9
    assert kept.execution.workers == 3
    beside = extended.model_copy(update={"frontier": Frontier()})
    assert keep_extended(beside, yaml, moved).round_1.num_trials == 9, (
        "also where `tuner frontier` measured one beside it"
    )
    other = stored(tmp_path, STUDY, "budget.max_steps=9000")
    assert keep_extended(extended, other, moved) == other, "what nobody extended is judged as ever"
    assert keep_extended(extended, yaml, []) == yaml
    changed = stored(tmp_path, STUDY, "round_1.num_trials=50")
    assert keep_extended(extended, changed, moved) == changed, (
        "a YAML that was changed as well is judged, not passed over"
    )
