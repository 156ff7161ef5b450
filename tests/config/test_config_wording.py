from __future__ import annotations

import re
from pathlib import Path

import pytest
from config_studies import CLASSIFIER, STUDY, changed, complaints, load
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tuner.config.problems import Origins, dotted
from tuner.config.settings import all_settings
from tuner.config.validation import validate
from tuner.errors import ConfigError

JARGON = re.compile(
    r"Input should|valid (integer|number|string|boolean|dict)|union|value_error|_type|pydantic|tuple\[|Extra inputs"
)


def with_training(line: str) -> str:
    return changed("  optimizer: adamw\n", f"  {line}\n")


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        (
            with_training("optimiser: adamw"),
            "x.yaml:9: training.optimiser: unknown setting; did you mean training.optimizer?",
        ),
        (with_training("lr: 1e-3"), "x.yaml:9: training.lr: unknown setting; did you mean training.learning_rate?"),
        (
            with_training("max_steps: 3"),
            "x.yaml:9: training.max_steps: unknown setting; did you mean budget.max_steps?",
        ),
        (
            with_training("hidden_size: 3"),
            "x.yaml:9: training.hidden_size: unknown setting; did you mean workload.model.hidden_size?",
        ),
        (
            with_training("epochs: 3"),
            "x.yaml:9: training.epochs: unknown setting; the number of steps is derived by the study, never set; "
            "budget.max_steps bounds it",
        ),
        (
            with_training("optimizer: adam"),
            'x.yaml:9: training.optimizer: "adam" is not one of the choices; did you mean adamw? use adamw or sgd',
        ),
        (
            with_training("beta1: 1.0"),
            "x.yaml:9: training.beta1: 1.0 is out of range; use a number of at least 0 and below 1",
        ),
        (
            with_training("beta1: '0.9'"),
            'x.yaml:9: training.beta1: "0.9" is text in quotes; '
            "write it without quotes, as a number of at least 0 and below 1",
        ),
        (
            with_training("beta1: true"),
            "x.yaml:9: training.beta1: true cannot be used here; use a number of at least 0 and below 1",
        ),
        (
            with_training("beta1:"),
            "x.yaml:9: training.beta1: null is not allowed; "
            "give a number of at least 0 and below 1, or remove the line",
        ),
        (
            with_training("beta1: [0.9]"),
            "x.yaml:9: training.beta1: [0.9] cannot be used here; use a number of at least 0 and below 1",
        ),
        (
            with_training("max_grad_norm: 0"),
            "x.yaml:9: training.max_grad_norm: 0 is out of range; use a number above 0 or null",
        ),
        (
            with_training("warmup_steps: soon"),
            'x.yaml:9: training.warmup_steps: "soon" is text; use a whole number of at least 0 or auto',
        ),
        (
            with_training("warmup_steps: 1.5"),
            "x.yaml:9: training.warmup_steps: 1.5 is not a whole number; use a whole number of at least 0 or auto",
        ),
        (
            with_training("precision: 16"),
            "x.yaml:9: training.precision: 16 cannot be used here; use fp32, bf16 or fp16",
        ),
        (
            STUDY + "seed: 1.5\n",
            "x.yaml:16: seed: 1.5 is not a whole number; use a whole number of at least 0 and below 2147483648",
        ),
        (
            STUDY + "budget_sweep: {stop_when_dominated: yes}\n",
            'x.yaml:16: budget_sweep.stop_when_dominated: "yes" is text; write true',
        ),
        (
            STUDY + "budget_sweep: {stop_when_dominated: 1}\n",
            "x.yaml:16: budget_sweep.stop_when_dominated: 1 cannot be used here; use true or false",
        ),
        (STUDY + "round_2: 3\n", "x.yaml:16: round_2: 3 cannot be used here; use a mapping of settings or null"),
        (
            changed("study: small", "study: 2024"),
            "x.yaml:1: study: 2024 is a number; put it in quotes to use it as text",
        ),
        (
            changed("  max_steps: 4000\n", ""),
            "x.yaml:10: budget.max_steps: missing; "
            "add it: the longest run the sweep may try (a whole number of at least 1)",
        ),
        (
            changed("kind: causal_lm", "kind: causal"),
            'x.yaml:3: workload.kind: "causal" is not one of the choices; '
            "did you mean causal_lm? use causal_lm or python",
        ),
        (
            changed("  kind: causal_lm\n", ""),
            "x.yaml:2: workload.kind: missing; add it: kind of workload (causal_lm or python)",
        ),
        (
            changed("python:pydoc_data.topics:topics", "[a.txt, 3]"),
            "x.yaml:4: workload.text.1: 3 is a number; put it in quotes to use it as text",
        ),
        (
            changed("python:pydoc_data.topics:topics", "{a: 1}"),
            "x.yaml:4: workload.text: a mapping cannot be used here; use text or a list",
        ),
        (
            changed("digits:Digits", "Digits", CLASSIFIER),
            'x.yaml:4: workload.class: "Digits" is not what is wanted; use module:Class',
        ),
        (
            changed("hidden_size: 64", "hidden_size: 65"),
            "x.yaml:6: workload.model: hidden_size=65 does not divide by num_heads=2; "
            "use a hidden_size that is a multiple of 2, or another num_heads",
        ),
        (
            changed("max_steps: 4000", "max_steps: 400"),
            "x.yaml:11: budget: first_guess_steps=500 is larger than max_steps=400; lower the guess or raise max_steps",
        ),
        (
            STUDY + "execution: {micro_batch_size: 3}\n",
            "x.yaml:16: execution.micro_batch_size=3 does not divide training.global_batch_size=16; "
            "use a divisor of 16",
        ),
    ],
)
def test_a_mistake_is_named_with_place_value_rule_and_remedy(tmp_path: Path, text: str, complaint: str) -> None:
    assert complaints(tmp_path, text) == [complaint]


def test_all_mistakes_are_named_at_once_in_the_order_of_the_file(tmp_path: Path) -> None:
    text = with_training("beta1: 2\n  beta2: 3\n  optimiser: adamw") + "rounds: 3\n"
    found = complaints(tmp_path, text)
    assert [line.split(": ")[0] for line in found] == ["x.yaml:9", "x.yaml:10", "x.yaml:11", "x.yaml:18"]


def test_whole_numbers_may_be_written_as_floats(tmp_path: Path) -> None:
    loaded = load(tmp_path, changed("max_steps: 4000", "max_steps: 4e3"))
    assert loaded.config.budget.max_steps == 4000
    assert isinstance(loaded.config.budget.max_steps, int)


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["kind", "low", "x"]), inner, max_size=3)
    ),
    max_leaves=5,
)


@settings(max_examples=300, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
@given(path=st.sampled_from(all_settings()), value=ANYTHING)
def test_whatever_stands_in_a_setting_no_library_speaks_to_the_user(path: tuple[str, ...], value: object) -> None:
    data: dict[str, object] = {
        "study": "x",
        "workload": {"kind": "causal_lm", "text": "a"},
        "budget": {"max_steps": 9000},
        "search_space": {},
    }
    if path[:1] == ("workload",) and path[1:2] in (("class",), ("options",)):
        data["workload"] = {"kind": "python", "class": "a:B"}
    here = data
    for key in path[:-1]:
        here = here.setdefault(key, {})  # type: ignore[assignment]
    here[path[-1]] = value
    try:
        validate(data, Origins(source="x.yaml"))
    except ConfigError as error:
        for line in str(error).splitlines():
            assert not JARGON.search(line.replace(repr(value), "")), line
            assert "; " in line or "=" in line, line
            assert line.startswith("x.yaml: "), line


def test_every_setting_has_a_rule_in_words() -> None:
    from tuner.config.settings import node_at
    from tuner.config.wording import rule

    for path in all_settings():
        kinds = ("causal_lm", "python")
        nodes = [node_at(path, {"workload": {"kind": kind}}) for kind in kinds]
        node = next(node for node in nodes if node is not None)
        assert rule(node) != "a value", dotted(path)
        assert node.get("description"), dotted(path)
