"""Disk in closed form: the parameters are the model's own, and a finished study stays below the bound."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tuner.config.load import load_study
from tuner.config.model_sizes import num_parameters
from tuner.config.schema import CausalLMWorkload, StudyConfig
from tuner.forecast.disk import checkpoint_bytes
from tuner.protocol.plan import closed_form_plan

QUICKSTART = Path(__file__).parents[2] / "studies" / "quickstart.yaml"


def workload(*, vocab_size: int | None = None, **model: Any) -> CausalLMWorkload:
    section = {"kind": "causal_lm", "text": "python:pydoc_data.topics:topics", "block_size": 32, "model": model}
    if vocab_size is not None:
        section |= {"tokenizer": "bpe", "vocab_size": vocab_size}
    return CausalLMWorkload.model_validate(section)


@pytest.mark.parametrize(
    "model",
    [
        {},
        {"hidden_size": 48, "num_layers": 3, "num_heads": 4, "intermediate_size": 100},
        {"max_position_embeddings": 80},
        {"vocab_size": 1000},
        {"architecture": "llama"},
        {"architecture": "llama", "hidden_size": 48, "num_layers": 3, "num_heads": 4, "num_key_value_heads": 2},
        {"architecture": "llama", "hidden_size": 40, "intermediate_size": 100, "vocab_size": 512},
    ],
)
def test_parameters_are_those_of_the_model_that_is_built(model: dict[str, Any]) -> None:
    from tuner.workloads.causal_lm import new_model

    built = new_model(workload(**model))
    assert num_parameters(workload(**model)) == sum(parameter.numel() for parameter in built.parameters())


def test_a_study_of_the_users_own_model_has_no_closed_form() -> None:
    config = load_study(QUICKSTART.parent / "digits" / "digits.yaml").config
    assert checkpoint_bytes(config, closed_form_plan(config)) is None


def test_more_trials_and_a_larger_model_take_more_disk() -> None:
    def taken(*overrides: str) -> int:
        config: StudyConfig = load_study(QUICKSTART, list(overrides)).config
        most = checkpoint_bytes(config, closed_form_plan(config))
        assert most is not None
        return most

    # The quickstart's checkpoints take 85 MB in the end; the bound holds every branch of its plan.
    assert 85e6 < taken() < 400e6
    assert taken("round_1.num_trials=12") > taken()
    assert taken("workload.model.hidden_size=128") > 2 * taken()
    assert taken("training.optimizer=sgd") < taken()
    assert taken("execution.save_total_limit=3") > taken()
    assert taken("workload.tokenizer=bpe", "workload.vocab_size=4096") > taken("workload.model.architecture=llama")
