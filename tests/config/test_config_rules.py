from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from config_studies import CLASSIFIER, STUDY, changed, complaints, load

from tuner.config.resolve import direction, eval_spec, execution_spec, perfect_fit, plain_eval_spec
from tuner.config.schema import Section
from tuner.config.search_rules import BATCH_SIZES
from tuner.config.wording import DERIVED_BUDGETS
from tuner.errors import ConfigError
from tuner.records import EvalSpec, ExecutionSpec, FitRule


@pytest.mark.parametrize("study", [STUDY, CLASSIFIER])
@pytest.mark.parametrize("name", sorted(DERIVED_BUDGETS | {"max_steps"}))
def test_the_budget_is_never_searched_under_any_name(tmp_path: Path, study: str, name: str) -> None:
    found = complaints(tmp_path, study, [f"search_space.{name}={{low: 10, high: 20}}"])
    assert len(found) == 1
    assert "the number of steps is never searched: the budget sweep derives it" in found[0]


@pytest.mark.parametrize("name", sorted(BATCH_SIZES))
def test_the_batch_size_is_not_tuned(tmp_path: Path, name: str) -> None:
    found = complaints(tmp_path, CLASSIFIER, [f"search_space.{name}={{choices: [8, 16]}}"])
    assert len(found) == 1
    assert "the batch size is not tuned: choose it before, by throughput" in found[0]


@pytest.mark.parametrize(
    ("overrides", "complaint"),
    [
        (["search_space.momentum={low: 0.1, high: 0.9}"], "belongs to training.optimizer sgd, this study uses adamw"),
        (["training.optimizer=sgd", "search_space.beta1={low: 0.1, high: 0.9}"], "belongs to training.optimizer adamw"),
        (["search_space.warmup_steps={low: 1, high: 9}"], "training.warmup_steps cannot be searched"),
        (
            ["search_space.beta1={low: 0.9, high: 1}"],
            "beta1.high: 1.0 is out of range for training.beta1; use a number of",
        ),
        (
            ["search_space.learning_rate.low=0", "search_space.learning_rate.scale=linear"],
            "learning_rate.low: 0.0 is out of",
        ),
        (["search_space.dropout={low: -0.1, high: 0.5}"], "low: -0.1 is out of range for workload.model.dropout"),
        (["search_space.dropout={low: 0, high: 1}"], "out of range for workload.model.dropout"),
        (["search_space.weight_decay={choices: [0, a]}"], 'weight_decay.choices.1: "a" is not a number'),
        (["search_space.weight_decay={choices: [0, true]}"], "weight_decay.choices.1: true is not a number"),
        (["search_space.weight_decay={choices: [0, 0]}"], "choices: [0, 0] repeats a value"),
        (["search_space.weight_decay={choices: [0, 1], scale: log}"], 'scale: "log" does not apply to choices'),
        (["search_space.weight_decay={low: 0.1, high: 0.9, integer: true}"], "holds fewer than two whole numbers"),
        (["search_space.size={low: 1, high: 2}"], "not a setting that can be searched"),
        (["search_space={}"], "search_space: has nothing in it, so nothing is tuned"),
        (["workload.split.test=0"], "workload.split.test: 0 is out of range; use a number above 0 and below 1"),
        (["workload.split.validation=0"], "workload.split.validation: 0 is out of range; use a number above 0"),
        (["search_space={dropout: {low: 0, high: 0.5}}"], "search_space.learning_rate: missing; add {low: 1e-4"),
        (["training.learning_rate=1e-3"], "0.001 is fixed here and searched in search_space.learning_rate; remove one"),
        (["evaluation.averaged_horizons=[0]"], "averaged_horizons.0: 0 is out of range; use a whole"),
        (["evaluation.averaged_horizons=[200, 50]"], "[200, 50] must rise, each horizon once; write [50, 200]"),
        (["evaluation.averaged_horizons=[50, 50]"], "[50, 50] must rise, each horizon once; write [50]"),
        (["evaluation.averaged_horizons=50"], "averaged_horizons: 50 cannot be used here; use a list"),
        (["evaluation.metric=accuracy"], '"accuracy" is not measured by a causal_lm workload; use loss or perplexity'),
        (["evaluation.direction=maximize"], "maximize contradicts evaluation.metric loss, whose direction is minimize"),
        (
            ["budget.perfect_fit=null", "workload_kind=not_compute_bound"],
            "budget.perfect_fit: missing; a language model states its own: perfect_fit: {metric:",
        ),
        (["workload_kind=saturated"], "saturated looks for no perfect fit, but budget.perfect_fit is given; remove it"),
        (
            ["workload_kind=not_compute_bound", "budget.production_steps=9000"],
            "not_compute_bound takes its length from the sweep, but budget.production_steps=9000 is given; remove it",
        ),
        (
            ["workload_kind=not_compute_bound", "limits.run_hours=2"],
            "not_compute_bound takes its length from the sweep, but limits.run_hours=2 is given; remove it",
        ),
        (
            ["workload_kind=compute_bound", "budget.perfect_fit=null"],
            "compute_bound needs a length that patience sets; add budget.production_steps, or limits: {run_hours: ...}",
        ),
        (["limits.run_hours=0"], "limits.run_hours: 0"),
        (
            ["budget.production_steps=150"],
            "production_steps: 150 gives round 1 10 % of it: 15 steps are fewer than the 20 evaluations that judge a "
            "budget (200 in all are); raise it",
        ),
        (
            ["budget.production_steps=400", "training.warmup_steps=39"],
            "40 steps do not hold training.warmup_steps=39 with a decay of 20 % (500 in all would; or shorten the",
        ),
        (
            ["limits={study_hours: 2, run_hours: 3}"],
            "run_hours=3 is more than study_hours=2, which no run can take; lower run_hours or raise study_hours",
        ),
        (["budget.perfect_fit.metric=error"], '"error" is not measured by a causal_lm workload'),
        (["budget.perfect_fit.at_most=0"], "perfect_fit.at_most: 0 can never be reached by loss; use a value above 0"),
        (
            ["budget.perfect_fit={metric: perplexity, at_most: 1}"],
            "1 can never be reached by perplexity; use a value above 1",
        ),
        (["training.decay_share=0.96"], "leaves no plateau in budget.first_guess_steps=500"),
        (
            ["training.warmup_steps=400"],
            "warmup_steps=400 (400 updates) plus decay_share=0.2 (100 updates) leaves no plateau",
        ),
        (["round_2.num_trials=9"], "9 is more than round_1.num_trials=8"),
        (["workload.split={validation: 0.5, test: 0.5}"], "validation=0.5 plus test=0.5 leaves nothing to train on"),
        (["workload.text=[]"], "workload.text: [] is empty; name at least one file"),
        (
            ["training.schedule=cosine"],
            "probe goes on from a plateau, which training.schedule cosine has not; use",
        ),
        (
            ["training.schedule=linear", "round_1.adjust=raw", "training.decay_share=0.3"],
            "training.decay_share: has no effect on training.schedule linear, which decays from warmup to the end",
        ),
        (
            ["training.schedule=linear", "round_1.adjust=raw", "training.decay_shape=cosine"],
            "training.decay_shape: has no effect on training.schedule linear",
        ),
        (
            ["training.schedule=cosine", "round_1={adjust: none, decay_shares: [0.3]}"],
            "round_1.decay_shares: tunes the decay after a plateau, which training.schedule cosine has not; remove it",
        ),
        (
            ["evaluation.averaged_horizons=[]", "round_1.adjust=averaged"],
            "averaged reads averaged weights, which evaluation.averaged_horizons=[] does not measure; use adjust",
        ),
        (
            ["evaluation.averaged_horizons=[]", "frontier={proxy: true}"],
            "frontier.proxy: true reads averaged weights, which evaluation.averaged_horizons=[] does not measure",
        ),
        (["frontier={proxy: true, num_budgets: 4}"], "num_budgets=4 has no effect with proxy=true"),
        (["frontier={num_calibrations: 3}"], "num_calibrations=3 calibrates a proxy, and proxy=false; remove it"),
        (["training.schedule=cosin"], '"cosin" is not one of the choices; did you mean cosine?'),
        (["workload.tokenizer=bpe"], "workload.vocab_size: missing; bpe learns as many tokens as you say"),
        (["workload.vocab_size=300"], "300 has no effect on tokenizer bytes; remove it, or use tokenizer: bpe"),
        (["workload.vocab_size=257"], "257 is out of range; use a whole number above 257"),
        (['workload.text_column=""'], 'workload.text_column: "" names no column'),
        (["workload.model.num_key_value_heads=1"], "1 has no effect on architecture gpt2; remove it, or use llama"),
        (
            ["workload.model={architecture: llama, num_heads: 2, num_key_value_heads: 4}"],
            "4 does not divide num_heads=2; use a divisor of 2",
        ),
        (
            ["workload.model={architecture: llama, hidden_size: 6, num_heads: 2}"],
            "6 over num_heads=2 gives llama heads of odd width, which rotary positions cannot turn; use",
        ),
        (["study=a/b"], 'study: "a/b" cannot name a study'),
        (["study='-x'"], 'study: "-x" cannot name a study'),
        (['study="a\\nb"'], 'study: "a\\nb" cannot name a study'),
    ],
)
def test_what_contradicts_or_cannot_be_is_refused(tmp_path: Path, overrides: list[str], complaint: str) -> None:
    found = complaints(tmp_path, overrides=overrides)
    assert len(found) == 1
    assert complaint in found[0]
    assert found[0].startswith("command line: ")


@pytest.mark.parametrize(
    ("overrides", "complaint"),
    [
        (
            ["evaluation.metric=f1"],
            'evaluation.direction: missing; "f1" may rise or fall as it gets better: add minimize or',
        ),
        (
            ["evaluation.metric=f1", "evaluation.direction=maximize"],
            "budget.perfect_fit: missing; a study of f1 states its own",
        ),
        (
            ["budget.perfect_fit={metric: accuracy, at_most: 0.99}"],
            "accuracy gets better as it rises, so at_most cannot mean",
        ),
        (
            ["budget.perfect_fit={metric: error, at_most: -1}"],
            "-1 can never be reached by error; use a value of at least 0",
        ),
        (["search_space.hidden size={low: 1, high: 2}"], "cannot be an argument of the workload's class"),
    ],
)
def test_rules_of_a_users_own_workload(tmp_path: Path, overrides: list[str], complaint: str) -> None:
    found = [line for line in complaints(tmp_path, CLASSIFIER, overrides) if complaint in line]
    assert len(found) == 1


def test_a_metric_of_ones_own_needs_and_takes_a_direction(tmp_path: Path) -> None:
    overrides = [
        "evaluation.metric=f1",
        "evaluation.direction=maximize",
        "budget.perfect_fit={metric: error, at_most: 0}",
    ]
    config = load(tmp_path, CLASSIFIER, overrides).config
    assert direction(config) == "maximize"
    assert perfect_fit(config) == FitRule("error", 0.0)


def test_everything_that_may_be_searched_is_accepted(tmp_path: Path) -> None:
    load(
        tmp_path,
        overrides=[
            "search_space.beta1={low: 0.8, high: 0.99, scale: one_minus_log}",
            "search_space.beta2={choices: [0.99, 0.999]}",
            "search_space.epsilon={low: 1e-9, high: 1e-5, scale: log}",
            "search_space.weight_decay={low: 0, high: 0.1}",
            "search_space.max_grad_norm={low: 0.5, high: 2}",
            "search_space.dropout={low: 0, high: 0.3}",
        ],
    )
    load(tmp_path, overrides=["training.optimizer=sgd", "search_space.momentum={low: 0.5, high: 0.99}"])
    load(tmp_path, overrides=["training.learning_rate=1e-3", "search_space={dropout: {low: 0, high: 0.3}}"])
    load(tmp_path, CLASSIFIER, ["search_space.activation={choices: [relu, gelu]}"])


@pytest.mark.parametrize(
    ("override", "warning"),
    [
        (
            "evaluation.every_steps=100",
            "evaluation.every_steps=100 with budget.first_guess_steps=500 gives 5 evaluations",
        ),
        ("budget.first_guess_steps=12", "budget.first_guess_steps=12 gives 12 evaluations per trial"),
        ("round_1.num_trials=4", "round_1.num_trials=4 is under 5: the verdict on the budget will be undecided"),
        ("search_space.learning_rate.scale=linear", "rates are searched with scale: log"),
        (
            "execution={device: cpu, micro_batch_size: 4}",
            "execution.micro_batch_size=4 accumulates 4 micro-batches per update, which on a CPU gives no throughput",
        ),
    ],
)
def test_what_will_hardly_answer_is_a_warning(tmp_path: Path, override: str, warning: str) -> None:
    warnings = load(tmp_path, overrides=[override]).warnings
    assert len(warnings) == 1
    assert warning in warnings[0]


def test_derived_records_follow_from_the_config(tmp_path: Path) -> None:
    config = load(tmp_path, CLASSIFIER, ["evaluation.batch_size=32", "evaluation.max_validation_examples=100"]).config
    assert eval_spec(config) == EvalSpec(
        metric="error",
        direction="minimize",
        batch_size=32,
        num_train_examples=2000,
        max_validation_examples=100,
        averaged_horizons=(50, 200),
    )
    assert plain_eval_spec(config) == replace(eval_spec(config), averaged_horizons=())
    assert perfect_fit(config) == FitRule("error", 0.01)
    assert execution_spec(config, device="cpu", eval_every_steps=7) == ExecutionSpec(
        device="cpu", torch_threads=1, micro_batch_size=16, checkpoint_every_steps=14, log_every_steps=20
    )


def test_stated_execution_wins_over_what_would_be_derived(tmp_path: Path) -> None:
    overrides = ["execution.micro_batch_size=4", "execution.checkpoint_every_steps=5", "execution.torch_threads=2"]
    spec = execution_spec(load(tmp_path, overrides=overrides).config, device="cuda", eval_every_steps=7)
    assert spec == ExecutionSpec(
        device="cuda", torch_threads=2, micro_batch_size=4, checkpoint_every_steps=5, log_every_steps=20
    )


def test_derivations_refuse_what_the_rules_would_have_refused(tmp_path: Path) -> None:
    config = load(tmp_path, CLASSIFIER).config
    unknown = config.model_copy(update={"evaluation": config.evaluation.model_copy(update={"metric": "f1"})})
    assert isinstance(unknown, Section)
    with pytest.raises(ConfigError, match="add minimize or maximize"):
        direction(unknown)
    with pytest.raises(ConfigError, match=r"budget\.perfect_fit: missing"):
        perfect_fit(unknown)


def test_mistakes_in_the_file_name_their_line(tmp_path: Path) -> None:
    found = complaints(tmp_path, changed("search_space:\n", "search_space:\n  epochs: {low: 1, high: 3}\n"))
    assert found[0].startswith("x.yaml:15: search_space.epochs: the number of steps is never searched")


@pytest.mark.parametrize("schedule", ["linear", "cosine"])
@pytest.mark.parametrize("adjust", ["raw", "none"])
def test_schedules_without_a_plateau_need_no_more_than_another_adjust(
    tmp_path: Path, schedule: str, adjust: str
) -> None:
    loaded = load(tmp_path, overrides=[f"training.schedule={schedule}", f"round_1.adjust={adjust}"])
    assert loaded.config.training.schedule == schedule
    load(tmp_path, overrides=[f"training.schedule={schedule}", f"round_1.adjust={adjust}", "round_1.decay_shares=[]"])


@pytest.mark.parametrize(
    ("overrides", "complaint"),
    [
        (["search_space=automatic"], 'search_space: "automatic" '),
        (
            ["search_space=auto", "training.learning_rate=1e-3"],
            "training.learning_rate: 0.001 is fixed here and searched by search_space: auto; remove one of them",
        ),
        (["search_space=auto", "round_1.sampler=grid"], "search_space: auto says nothing of the points of a grid"),
    ],
)
def test_what_contradicts_an_automatic_space_is_refused(tmp_path: Path, overrides: list[str], complaint: str) -> None:
    assert any(complaint in line for line in complaints(tmp_path, STUDY, overrides))


def test_an_automatic_space_is_well_formed(tmp_path: Path) -> None:
    assert load(tmp_path, overrides=["search_space=auto"]).config.given_space == {}


@pytest.mark.parametrize("execution", ["{device: cuda, micro_batch_size: 4}", "{device: cpu, micro_batch_size: 16}"])
def test_accumulation_that_may_be_needed_is_no_warning(tmp_path: Path, execution: str) -> None:
    assert not load(tmp_path, overrides=[f"execution={execution}"]).warnings


def test_more_trials_than_a_finite_space_has_points_are_refused(tmp_path: Path) -> None:
    choices = "search_space={learning_rate: {choices: [0.001, 0.002, 0.004]}, dropout: {choices: [0.0, 0.1]}}"
    found = complaints(tmp_path, STUDY, [choices, "round_1.num_trials=7"])
    assert any("7 is more than the 6 different points of search_space" in line for line in found)
    load(tmp_path, overrides=[choices, "round_1.num_trials=6"])


def test_a_cadence_too_coarse_for_a_tenth_of_the_production_length_is_a_warning(tmp_path: Path) -> None:
    production = ["budget.production_steps=2000", "evaluation.every_steps=20"]
    (warning,) = load(tmp_path, overrides=production).warnings
    assert "every_steps=20 gives 10 evaluations in the 10 % of budget.production_steps=2000" in warning
    assert warning.endswith("evaluate every 8 steps")
    assert not load(tmp_path, overrides=["budget.production_steps=2000", "evaluation.every_steps=8"]).warnings


@pytest.mark.parametrize("sampler", ["tpe", "gp"])
def test_samplers_that_learn_may_be_limited_in_hours(tmp_path: Path, sampler: str) -> None:
    load(tmp_path, overrides=[f"round_1.sampler={sampler}", "limits={study_hours: 4}"])
