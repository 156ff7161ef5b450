"""A loss per token is told to be one, where the tokens are a study's own."""

from __future__ import annotations

from sample_studies import make_config, quickstart_study

from tuner.report.sections.caveats import caveats_section
from tuner.report.source import Source


def questions(**workload: object) -> dict[str, str]:
    config = make_config()
    config = config.model_copy(update={"workload": config.workload.model_copy(update=workload)})
    source = Source(study=quickstart_study(), config=config, bill={}, command="", decision_times=())
    return dict(caveats_section(source).tables[0].rows)


def test_only_learnt_tokens_raise_the_question_of_other_studies() -> None:
    asked = "Do its values compare with other studies?"
    assert asked not in questions()
    assert "per token of its own 4,096" in questions(tokenizer="bpe", vocab_size=4096)[asked]
